"""Licences of devices.

Fingerprint, store, verdict, recovery. (Licences of packages are ``conda.spdx``.)

The verdict is a function of documents and a moment; the clock of the machine is not believed
backwards.

May import: codec, fs, keys, besides the ground modules.
"""

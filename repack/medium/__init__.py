"""A stick or folder for targets: several releases, installers, papers, the OEM bundle.

A medium holds whole releases only.

May import: archive, bundle, channel, codec, conda, delta, fs, keys, label, license, provenance,
store, sync, trust, upstream, besides the ground modules.
"""

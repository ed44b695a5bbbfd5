"""For first-line support: ``repack doctor``, support bundles, redaction of logs.

What leaves the machine is searched for secrets first.

May import: codec, conda, fs, prefix, store, upstream, besides the ground modules.
"""

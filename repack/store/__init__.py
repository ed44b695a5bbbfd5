"""The store.

Archives by SHA-256, shared by all labels; fetched, checked, described, collected.

An archive has one content for ever; it is hashed before it counts as there.

May import: archive, codec, conda, fs, upstream, besides the ground modules.
"""

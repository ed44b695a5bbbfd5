"""What leads from one release to another: selection, patches, one signed file, applying it.

A package that was rebuilt from a patch has upstream's bytes, or the delta is refused.

May import: archive, channel, codec, conda, fs, keys, store, verify, besides the ground modules.
"""

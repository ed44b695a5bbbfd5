"""Whether a channel is whole, unchanged, signed, and agrees with itself.

One comparison of a folder with its list serves everybody.

May import: archive, channel, codec, conda, fs, keys, trust, besides the ground modules.
"""

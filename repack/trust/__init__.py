"""TUF: the metadata set, its editor, ceremonies, the client, which release a target takes.

Source: the TUF specification. Signatures are checked before what they cover is parsed.

May import: channel, codec, fs, keys, besides the ground modules.
"""

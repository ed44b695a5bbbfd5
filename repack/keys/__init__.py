"""Keys.

The shared (HMAC) key, public keys and their roles, private keys, signed JSON documents.

A key's identifier is computed from the key wherever it is read. No key is ever shown.

May import: codec, fs, besides the ground modules.
"""

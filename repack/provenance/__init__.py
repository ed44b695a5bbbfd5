"""Notarisation.

Who built a release from what, as an in-toto statement (SLSA) in a DSSE envelope, with a log.

A statement is signed by a key of its own.

May import: channel, codec, fs, keys, solve, verify, besides the ground modules.
"""

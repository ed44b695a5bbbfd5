"""Bytes and the trees they stand for.

Canonical JSON, machine JSON into structs, hand-written YAML and JSON with line numbers,
``SHA256SUMS``.

Everything here is pure. Bounds on size and depth are checked before anything is parsed.

May import: nothing, besides the ground modules.
"""

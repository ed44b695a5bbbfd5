"""Files and folders.

The only writer, locks, links, folder exchange, journals, walking, hashing, volumes.

What is written appears whole or not at all: a temporary file beside it, fsync, rename, fsync of
the folder.

May import: codec, besides the ground modules.
"""

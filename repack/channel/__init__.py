"""The published folder.

Layout, contents, manifest, list of files, repodata, publishing, history, install scripts.

Packages before the metadata that names them, removals last; at any instant a reader finds what
the repodata names.

May import: archive, codec, conda, fs, keys, label, store, besides the ground modules.
"""

"""What conda calls things.

Record, repodata, MatchSpec, virtual package, subdir, licence (SPDX); records to py-rattler and
back.

A record is upstream's, field for field; nothing here reads one from an archive.

May import: codec, fs, besides the ground modules.
"""

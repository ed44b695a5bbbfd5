"""Everything for conda below 4.7.

Archives to ``.tar.bz2``, records and MatchSpecs that it can read.

Each change to a record is listed.

May import: archive, codec, conda, fs, store, besides the ground modules.
"""

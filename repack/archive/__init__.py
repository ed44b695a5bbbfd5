"""Package archives, ``.conda`` and ``.tar.bz2``, and plain tars: read, checked, written.

An archive that two readers understand differently is refused. Formats: CEP 34 and CEP 35.

May import: codec, conda, fs, besides the ground modules.
"""

"""Templates of the pages; :mod:`repack.report.html` fills them in."""

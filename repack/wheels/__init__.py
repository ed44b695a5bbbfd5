"""Wheels as conda packages: chosen, converted, judged like every other package.

A wheel becomes a package once per content and target: pure ones ``noarch: python``, others for their
subdir with the CPython and the glibc, macOS or Windows that their tag asks for. The same wheel gives
the same bytes. Formats: PyPA, "Binary distribution format" and "Core metadata specifications"; PEP
425 and 600 (tags), 440 (versions), 508 (requirements), 503 (names).

May import: archive, codec, conda, fs, inputs, prefix, store, upstream, besides the ground modules.
"""

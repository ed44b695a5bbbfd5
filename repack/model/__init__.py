"""Nouns: frozen and pure. Bytes in, verdict out; no disk, no clock, no environment."""

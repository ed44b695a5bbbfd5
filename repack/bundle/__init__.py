"""Bundles of models and strategies as conda packages, and release archives.

Prepare, verify, install.

The same folder gives the same bytes.

May import: archive, channel, codec, conda, fs, keys, label, besides the ground modules.
"""

"""The line: label to published release.

Read ``line.py`` from top to bottom: one step a line.

May import: archive, bundle, channel, codec, conda, fs, keys, label, old_conda, prove, report,
solve, store, trust, upstream, besides the ground modules.
"""

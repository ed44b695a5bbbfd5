"""report.json, the page, bills of materials, what changed, the overview of all labels.

Every text that comes from a package is shortened, cleaned and escaped.

May import: archive, channel, codec, conda, fs, label, solve, trust, besides the ground modules.
"""

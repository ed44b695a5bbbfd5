"""A channel to a folder, a share or another machine: plan, copy, rsync, robocopy, staging.

The destination serves the old or the new release at any instant.

May import: channel, codec, conda, fs, keys, label, verify, besides the ground modules.
"""

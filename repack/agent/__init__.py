"""``repack target``.

What runs on the machine without internet. State machine, storage, medium, install, run, roll
back.

It imports neither solver nor network nor store. What it does can be done again after a power cut.

May import: channel, codec, conda, fs, prefix, receipt, trust, besides the ground modules.
"""

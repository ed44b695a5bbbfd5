"""What became of a published release's packages upstream: withdrawn, gone, replaced, hot-fixed.

Nobody but the label's own channels is asked, each once, by a conditional request.

May import: channel, codec, conda, fs, label, release, report,
solve, besides the ground modules.
"""

"""The proof: solve again from the staged channel alone, link, check distributions where wheels come along, run the health check.

Nothing is published that was not proved.

May import: archive, channel, conda, label, prefix, solve, store, besides the ground modules.
"""

"""Receipts: what a site says of its device, signed by that device, and the vendor's list of sites.

A receipt is believed when the device's key signs it, the vendor took that key over once, and its
number is higher than that of every receipt before.

May import: codec, conda, fs, keys, besides the ground modules.
"""

"""Update packages: one payload of a device, whole or as a patch, with a signed manifest.

A folder that holds ``manifest.json`` (:mod:`repack.channel.manifest`), the payload, a patch if there
is one, and an optional list of the payload's files with their SHA-256.

Every check that is made is written down in order, passed or not, so that a user interface can show
the whole chain.

May import: archive, channel, codec, fs, keys, besides the ground modules.
"""

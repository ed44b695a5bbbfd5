"""What stands in for a solve.

Pixi.lock, conda-lock, explicit lists, environment.yml, ``conda info --json``.

Foreign files are data: read whole, bounded, every mistake named with its place.

May import: archive, codec, conda, fs, prefix, besides the ground modules.
"""

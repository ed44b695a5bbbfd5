"""An environment on disk.

Read ``conda-meta``, link packages by py-rattler or conda, run commands in it, a sandbox for that.

Whatever runs in a prefix runs without network.

May import: conda, fs, besides the ground modules.
"""

"""From a label to a solution, the exact records of each subdir.

Solver, lock, upstream's own records.

Solved for the target profile alone, never for the machine that builds.

May import: codec, conda, fs, inputs, label, store, upstream, besides the ground modules.
"""

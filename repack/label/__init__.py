"""The label file: schema, reader, variables, channels, what it names.

Every mistake of a file is told at once, each with its line.

May import: archive, codec, conda, fs, inputs, besides the ground modules.
"""

"""One file per command: parse, call one function, print.

May import every package; a command imports no other command.
"""

"""The agent: install, run, roll back and look, on a machine without network.

Imports no step: no solver, no upstream, no builder. The packages are those that the signed
manifest names for this platform; every one is checked before it is linked.
"""

"""The version of repack; read by the build system and the conda recipe too."""

__version__ = "0.1.0"

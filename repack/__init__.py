"""Offline conda channels, proved installable before they are published."""

__version__ = "0.1.0"

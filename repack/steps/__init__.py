"""Verbs: noun in, noun out. Steps do not know each other."""

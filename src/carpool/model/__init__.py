"""Nouns: frozen values with names and units; no bytes, no time, no I/O."""

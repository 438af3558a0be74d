"""Decisions: (state, event, now) -> effects and the next deadline; no I/O, no clock, no chance."""

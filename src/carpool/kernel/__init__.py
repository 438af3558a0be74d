"""Hands: the only room with system calls; thin, without decisions."""

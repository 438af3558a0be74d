"""Faces for programs: configuration files, control sockets, rendering."""

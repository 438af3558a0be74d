"""A real network on one machine: namespaces, traffic, drills."""

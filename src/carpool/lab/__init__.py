"""A real network on one machine: firewalls that run carpool, live traffic, drills that break it."""

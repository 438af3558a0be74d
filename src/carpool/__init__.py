"""carpool: two or more Linux firewalls that fail over as one."""

__version__ = "0.1.0"

"""Drivers: one machine and its hands, joined by one loop; one service a process."""

"""The carpool command: one module per group of verbs."""

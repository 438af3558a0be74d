"""The presets held against the packages of the distribution."""

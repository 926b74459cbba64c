"""From the overrides that the user types to a checked `RunSpec`."""

"""From what the user types to a checked `RunSpec`."""

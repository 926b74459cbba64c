"""The supported architectures: one file each, which defines the entry `ARCHITECTURE`."""

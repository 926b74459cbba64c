"""The architectures that adapters go into: one file each, its `ARCHITECTURE` the whole entry."""

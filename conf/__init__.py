"""The configuration files, shipped as package data of `sparsead.conf`."""

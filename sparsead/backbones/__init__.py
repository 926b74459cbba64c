"""Pretrained models: loading them, and where in each architecture adapters are inserted."""

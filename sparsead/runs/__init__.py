"""Runs on disk: identity, claim, record, failure and index; nothing here imports torch."""

"""Tables of finished runs; nothing here imports torch."""

"""Tables, statistics and figures of finished runs; nothing here imports torch."""

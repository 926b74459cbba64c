"""The Trainer, its arguments, the order of the batches, device and precision."""

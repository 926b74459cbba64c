"""A run's model put together: to train it, from its record, or to count it."""

"""Assemble a run's model: to train it, to rebuild it from its record, or to count its costs."""

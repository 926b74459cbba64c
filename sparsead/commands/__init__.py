"""The verbs of `sparsead`: one file a verb, whose first line says what it does."""

"""The verbs of `sparsead`: one file per verb; the help shows the first line of its docstring."""

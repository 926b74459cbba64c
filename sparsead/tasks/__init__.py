"""Data sets with their columns, head, collator and metrics: one file for each family.

`sparsead.tasks.contract` says what a task is.
"""

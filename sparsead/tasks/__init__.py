"""Data sets with their columns, head, collator and metrics: one file a family.

`sparsead.tasks.contract` says what a task is.
"""

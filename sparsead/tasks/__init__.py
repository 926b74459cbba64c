"""Data sets with their columns, head, collator and metric: one file a family."""

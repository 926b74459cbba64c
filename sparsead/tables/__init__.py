"""A table's file as cells, their order, what is missing of them, and how long that will take."""

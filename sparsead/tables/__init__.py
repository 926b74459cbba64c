"""Tables of runs: from a table's file to cells, running the missing ones, and time estimates."""

"""Imported last by the process from which the tests fork, which then has all that they need."""

from collecting import collect_rarely

collect_rarely()

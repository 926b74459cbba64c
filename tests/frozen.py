"""Imported last by the process from which the tests fork, after the packages that they need."""

from collecting import collect_rarely

collect_rarely()

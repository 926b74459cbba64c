"""Imported last by the process from which the tests fork: garbage collections skip what it has.

A collection would look at a million objects in each fork, and copy the memory that they share.
"""

import gc

gc.collect()
gc.freeze()

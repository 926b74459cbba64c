"""Models and data sets of the Hugging Face hub: which commit is read, and from where.

`sources.py` says what is asked for, `commits.py` at which commit, `failures.py` why it failed;
`models.py` and `rows.py` fetch the files, once. Only `rows.py` imports datasets.
"""

"""Data sets with their columns, head, collator and metric: one file a family.

A task gives `head` and `head_options`; `load()`, the splits as they are; `encode(splits,
tokenizer)`, the same in tokens; `collator(tokenizer)`; and what its scores, the main one first,
are computed by:

- `scores(output)`: from the Trainer's `EvalPrediction` over the validation split, or
- `record_scores(records)`: from records of each example's `id` and `prediction`, which are kept
  with the run. `predictions(output, rows)` makes them of the `EvalPrediction` and of the encoded
  split, which has columns for it beside the model's; or, where the task has `generation`, the
  model generates them for each split of `generated_splits`, which has the columns `id` and
  `reference`. Per epoch only the loss is then computed.

Options that are left to the data, such as the names of classes, a task gives as `from_data` once it
has read it: they are kept in the record, and a loaded run has them instead of the data.

For rows that are new, a task has `inputs`, the columns of text that it reads; `encode_inputs(rows,
tokenizer)`; and, unless it generates, `decoded(output, encoded)`, one record a row.
Where it has a JSON format of its own, `read_json(file)` gives its rows, each with an `id`. Where a
benchmark's server takes predictions, `load_tests()` gives the test sets by the name of their file,
and `submission(records)` that file's content from what `decoded` gave.
"""

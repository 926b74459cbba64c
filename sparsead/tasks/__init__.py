"""Data sets with their columns, head, collator and metric: one file a family.

A task gives `head` and `head_options`; `load()`, the splits as they are; `encode(splits,
tokenizer)`, the same in tokens; `collator(tokenizer)`; and `scores(…)`, the main one first. What
is scored is one of three:

- the Trainer's `EvalPrediction` over the validation split;
- where the task has `predictions(output, rows)`, the records that it makes of that `EvalPrediction`
  and of the encoded split, which has columns for it beside the model's;
- where the task has `generation`, settings of transformers' GenerationConfig, the records of the
  texts that the model generates for each split of `generated_splits`; the encoded split then has
  the columns `id` and `reference`. The loss alone is computed per epoch.

For rows that are new, a task has `inputs`, the columns of text that it reads; `encode_inputs(rows,
tokenizer)`; and, unless it generates, `decoded(output, encoded)`, one record a row.

Records have at least an `id` and a `prediction`, and are kept with the run.
"""

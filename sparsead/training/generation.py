"""Texts that a trained model generates for whole splits, streamed to disk and gone on from."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset, DatasetDict
from datasets.utils import tqdm
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, Trainer

from sparsead.runs.files import write_atomically
from sparsead.tasks.contract import Collator, GeneratesText
from sparsead.training.evaluation import token_batches, token_counts
from sparsead.training.prediction import lines, predictions_file, whole_records

log = logging.getLogger(__name__)


def generate_splits(
    trainer: Trainer,
    task: GeneratesText,
    data: DatasetDict,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    splits: Sequence[str],
) -> dict[str, dict[str, float]]:
    """Generate and keep a text for each example of the splits; return their scores by split."""
    scores: dict[str, dict[str, float]] = {}
    for split in splits:
        file = predictions_file(folder, split)
        generate(trainer, task, data[split], tokenizer, file)
        scores[split] = task.record_scores(whole_records(file))
        line = ", ".join(f"{name} {value:.4f}" for name, value in scores[split].items())
        log.info("%s: %s", split, line)
    return scores


def generate(
    trainer: Trainer,
    task: GeneratesText,
    rows: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    file: Path,
) -> None:
    """Generate a text for each row, and append it to `file` as soon as its batch is done.

    Batches are of about equal token count, the longest rows first; the whole file is in the rows'
    order. What an earlier process wrote is gone on from, at the start of a batch: a batch is
    padded as a whole, so that a row gives the same text whether or not there was an interruption.

    Args:
        trainer: has trained the model, and has the task's collator.
        task: gives the settings of the generation.
        rows: an encoded split with the columns `id`, which differ, and `reference`.
        tokenizer: the backbone's.
        file: of one record a line: `id`, `prediction`, `reference`.
    """
    state = PartialState()
    generated = int(task.generation.get("max_new_tokens", 0))
    lengths = [length + generated for length in token_counts(rows)]
    batches = token_batches(lengths, trainer.args.eval_batch_size * state.num_processes)
    ends = list(accumulate(map(len, batches)))
    written = whole_records(file)
    done = max((end for end in ends if end <= len(written)), default=0)
    state.wait_for_everyone()
    if state.is_main_process:
        file.write_text(lines(written[:done]), "utf-8")
    if done:
        log.info("%s: %d texts are there, going on behind them", file.name, done)
    left = [batch for batch, end in zip(batches, ends, strict=True) if end > done]
    for batch in (rows.select(indices) for indices in tqdm(left, desc=file.name)):
        with state.split_between_processes(list(range(len(batch)))) as share:
            texts = gather_object(_texts(trainer, task, batch.select(share), tokenizer))
        if state.is_main_process:
            _append(file, batch, texts)
    if state.is_main_process:
        _put_in_order(file, rows)
    state.wait_for_everyone()


def generation_config(model: PreTrainedModel, settings: Mapping[str, Any]) -> GenerationConfig:
    """Return the task's settings with the backbone's special tokens, and nothing else of it."""
    own = model.generation_config.to_dict() if model.generation_config else {}
    tokens = {key: value for key, value in own.items() if key.endswith("_token_id")}
    return GenerationConfig(**tokens | dict(settings))


def _texts(
    trainer: Trainer, task: GeneratesText, rows: Dataset, tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    if not len(rows):
        return []
    model = trainer.model
    assert isinstance(model, PreTrainedModel)
    generator = cast(Any, model)  # its class has `generate` where its head generates
    columns = [name for name in tokenizer.model_input_names if name in rows.column_names]
    inputs = cast(Collator, trainer.data_collator)(list(rows.select_columns(columns)))
    model.eval()
    with trainer.accelerator.autocast():  # generating calls the encoder, past the wrapped forward
        ids = generator.generate(
            **inputs.to(model.device), generation_config=generation_config(model, task.generation)
        )
    return [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]


def _put_in_order(file: Path, rows: Dataset) -> None:
    records = {record["id"]: record for record in whole_records(file)}
    write_atomically(file, lines(records[name] for name in rows["id"]))


def _append(file: Path, rows: Dataset, texts: list[str]) -> None:
    records = [
        {"id": row["id"], "prediction": text, "reference": row["reference"]}
        for row, text in zip(rows.select_columns(["id", "reference"]), texts, strict=True)
    ]
    with file.open("a", encoding="utf-8") as stream:
        stream.write(lines(records))

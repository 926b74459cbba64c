"""Texts that a trained model generates for whole splits, streamed to disk and gone on from."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset, DatasetDict
from datasets.utils import tqdm
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, Trainer

from sparsead.training.prediction import Record, lines, predictions_file, whole_records

log = logging.getLogger(__name__)


def generate_splits(
    trainer: Trainer,
    task: Any,
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
        scores[split] = task.scores(whole_records(file))
        line = ", ".join(f"{name} {value:.4f}" for name, value in scores[split].items())
        log.info("%s: %s", split, line)
    return scores


def generate(
    trainer: Trainer, task: Any, rows: Dataset, tokenizer: PreTrainedTokenizerBase, file: Path
) -> None:
    """Generate a text for each row, and append it to `file` as soon as its batch is done.

    What an earlier process wrote is gone on from, at the start of a batch: a batch is padded as
    a whole, so that a row gives the same text whether or not there was an interruption.

    Args:
        trainer: has trained the model.
        task: gives the collator and the settings of the generation.
        rows: an encoded split with the columns `id` and `reference`.
        tokenizer: the backbone's.
        file: of one record a line: `id`, `prediction`, `reference`.
    """
    state = PartialState()
    batch_size = trainer.args.eval_batch_size * state.num_processes
    done = _whole_batches(whole_records(file), batch_size, len(rows))
    state.wait_for_everyone()
    if state.is_main_process:
        file.write_text(lines(done), "utf-8")
    if done:
        log.info("%s: %d texts are there, going on behind them", file.name, len(done))
    for start in tqdm(range(len(done), len(rows), batch_size), desc=file.name):
        batch = rows.select(range(start, min(start + batch_size, len(rows))))
        with state.split_between_processes(list(range(len(batch)))) as share:
            texts = gather_object(_texts(trainer, task, batch.select(share), tokenizer))
        if state.is_main_process:
            _append(file, batch, texts)
    state.wait_for_everyone()


def generation_config(model: PreTrainedModel, settings: Mapping[str, Any]) -> GenerationConfig:
    """Return the task's settings with the backbone's special tokens, and nothing else of it."""
    own = model.generation_config.to_dict() if model.generation_config else {}
    tokens = {key: value for key, value in own.items() if key.endswith("_token_id")}
    return GenerationConfig(**tokens | dict(settings))


def _texts(
    trainer: Trainer, task: Any, rows: Dataset, tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    if not len(rows):
        return []
    model = trainer.model
    assert isinstance(model, PreTrainedModel)
    generator = cast(Any, model)  # its class has `generate` where its head generates
    columns = [name for name in tokenizer.model_input_names if name in rows.column_names]
    inputs = task.collator(tokenizer)(list(rows.select_columns(columns)))
    model.eval()
    with trainer.accelerator.autocast():
        ids = generator.generate(
            **inputs.to(model.device), generation_config=generation_config(model, task.generation)
        )
    return [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]


def _whole_batches(records: list[Record], batch_size: int, total: int) -> list[Record]:
    whole = len(records) if len(records) == total else len(records) // batch_size * batch_size
    return records[:whole]


def _append(file: Path, rows: Dataset, texts: list[str]) -> None:
    records = [
        {"id": row["id"], "prediction": text, "reference": row["reference"]}
        for row, text in zip(rows.select_columns(["id", "reference"]), texts, strict=True)
    ]
    with file.open("a", encoding="utf-8") as stream:
        stream.write(lines(records))

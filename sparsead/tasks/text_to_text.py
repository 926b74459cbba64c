"""Tasks whose answer is a generated text: summaries and translations."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, load_dataset
from transformers import (
    AutoModelForSeq2SeqLM,
    DataCollatorForSeq2Seq,
    PreTrainedTokenizerBase,
)

from sparsead.config import SPLITS
from sparsead.errors import ConfigError, DataError, unknown, unknown_key
from sparsead.hub import fetch
from sparsead.registry import TASKS
from sparsead.tasks.jsonl import check_unique, read_jsonl
from sparsead.tasks.limit import first_examples
from sparsead.tasks.text_scores import TextScores

log = logging.getLogger(__name__)

_LEAST = {"num_beams": 1, "max_new_tokens": 1, "min_new_tokens": 0, "no_repeat_ngram_size": 0}
_KINDS: dict[str, tuple[type, ...]] = {"length_penalty": (int, float), "early_stopping": (bool,)}
_GENERATION = (*_LEAST, *_KINDS)


@TASKS.register("text_to_text")
@dataclass(frozen=True)
class TextToText:
    """A target text is learnt from a source text, and generated from it.

    Args:
        name: of the task.
        columns: `source`, `target` and, where there is one, `id` → the column's name in the
            data; `translation.en` is the key `en` of a column of objects on the hub.
        metrics: the main one first.
        max_length: tokens of the source, special ones included, beyond which it is cut.
        target_length: likewise of the target.
        prefix: put before every source, as T5 wants it.
        generation: num_beams, max_new_tokens, min_new_tokens, length_penalty,
            no_repeat_ngram_size, early_stopping, as transformers' GenerationConfig has them.
        generated_splits: texts are generated for these at the end; the first one's scores are
            the run's.
        limit: use the first examples of each split only.
        path: folder of the files; None loads `hub` from the hub.
        files: split → JSON Lines file below `path`.
        hub: name of the data set, with `hub_config` and `hub_revision`.
    """

    name: str
    columns: Mapping[str, str | None]
    metrics: Sequence[str]
    max_length: int
    target_length: int
    generation: Mapping[str, Any]
    generated_splits: Sequence[str]
    prefix: str = ""
    limit: int | None = None
    path: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    hub: str | None = None
    hub_config: str | None = None
    hub_revision: str | None = None

    head = AutoModelForSeq2SeqLM
    head_options: Mapping[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        TextScores(self.metrics)
        _check_generation(self.generation)
        if not self.generated_splits:
            raise ConfigError("task.generated_splits=[]: the run would have no scores")
        for split in self.generated_splits:
            if split not in SPLITS or (self.path and split not in self.files):
                raise ConfigError(unknown("task.generated_splits", split, self.files or SPLITS))

    def load(self) -> DatasetDict:
        """Return train, validation and what else is generated, with `id`, `source`, `target`.

        Raises:
            DataError: a local file is malformed, or the data set has not these columns.
            SourceError: the hub's data set cannot be had.
        """
        splits = self._read() if self.path else self._download()
        return first_examples(splits, self.limit)

    def encode(self, splits: DatasetDict, tokenizer: PreTrainedTokenizerBase) -> DatasetDict:
        """Tokenise every split; say how many texts were cut or are empty.

        The splits but train also have `id` and `reference`, the target as it is.
        """
        return DatasetDict(
            {split: self._encode(split, rows, tokenizer) for split, rows in splits.items()}
        )

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> DataCollatorForSeq2Seq:
        """Return what makes a batch; the model shifts its labels to the decoder's inputs."""
        return DataCollatorForSeq2Seq(tokenizer)

    def scores(self, predictions: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return the metrics of records of `prediction` and `reference`, the main one first."""
        values: dict[str, float] = TextScores(self.metrics).compute(
            predictions=[record["prediction"] for record in predictions],
            references=[record["reference"] for record in predictions],
        )
        return values

    def _encode(self, split: str, rows: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
        encoded = rows.map(
            lambda batch: self._tokenise(batch, tokenizer, scored=split != "train"),
            batched=True,
            remove_columns=rows.column_names,
        )
        log.info(
            "%s: %d examples, %d sources cut at %d tokens, %d targets at %d; %d with an empty text",
            *(split, len(rows), sum(encoded["source_cut"]), self.max_length),
            *(sum(encoded["target_cut"]), self.target_length, sum(encoded["empty"])),
        )
        return encoded.remove_columns(["source_cut", "target_cut", "empty"])

    def _tokenise(
        self, batch: Mapping[str, list[str]], tokenizer: PreTrainedTokenizerBase, scored: bool
    ) -> dict[str, Any]:
        texts = [self.prefix + source for source in batch["source"]]
        source = tokenizer(texts, truncation=True, max_length=self.max_length)
        target = tokenizer(
            text_target=batch["target"], truncation=True, max_length=self.target_length
        )
        columns = {
            **source,
            "labels": target["input_ids"],
            "source_cut": [bool(encoding.overflowing) for encoding in source.encodings or []],
            "target_cut": [bool(encoding.overflowing) for encoding in target.encodings or []],
            "empty": [
                not (source.strip() and target.strip())
                for source, target in zip(batch["source"], batch["target"], strict=True)
            ],
        }
        if not scored:
            return columns
        return columns | {"id": batch["id"], "reference": batch["target"]}

    def _splits(self) -> list[str]:
        return [s for s in SPLITS if s != "test" or s in self.generated_splits]

    def _download(self) -> DatasetDict:
        hub = str(self.hub)
        splits = fetch(
            hub,
            lambda: load_dataset(hub, self.hub_config, revision=self.hub_revision),
            "task.path",
        )
        missing = [split for split in self._splits() if split not in splits]
        if missing:
            raise DataError(f"{hub}: has no split {missing[0]} (splits: {', '.join(splits)})")
        return DatasetDict({s: self._named(hub, splits[s]) for s in self._splits()})

    def _named(self, hub: str, rows: Dataset) -> Dataset:
        rows = rows.flatten()
        columns = {name: column for name, column in self.columns.items() if column}
        for column in columns.values():
            if column not in rows.column_names:
                raise DataError(f"{hub}: {unknown_key(column, rows.column_names)}")
        named = rows.select_columns(list(columns.values())).rename_columns(
            {column: name for name, column in columns.items()}
        )
        if "id" in columns:
            return named
        return named.add_column("id", [str(number) for number in range(len(rows))])

    def _read(self) -> DatasetDict:
        folder = Path(str(self.path))
        return DatasetDict({s: self._read_file(folder / self.files[s]) for s in self._splits()})

    def _read_file(self, path: Path) -> Dataset:
        columns = {name: key for name, key in self.columns.items() if key}
        rows = read_jsonl(path, columns)
        if "id" in columns:
            check_unique(path, rows, "id")
            return Dataset.from_list(rows)
        return Dataset.from_list([{"id": str(number), **row} for number, row in enumerate(rows)])


def _check_generation(settings: Mapping[str, Any]) -> None:
    for key, value in settings.items():
        if key not in _GENERATION:
            raise ConfigError(unknown_key(f"task.generation.{key}", _GENERATION))
        kinds = _KINDS.get(key, (int,))
        if type(value) not in kinds:
            raise ConfigError(f"task.generation.{key}={value}: must be {kinds[-1].__name__}")
        if key in _LEAST and value < _LEAST[key]:
            raise ConfigError(f"task.generation.{key}={value}: must be at least {_LEAST[key]}")

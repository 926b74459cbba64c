"""GLUE's classification tasks: from the hub, or from a folder in GLUE's TSV layout."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import ClassLabel, Dataset, DatasetDict, load_dataset
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedTokenizerBase,
)

from sparsead.errors import DataError
from sparsead.hub import fetch
from sparsead.registry import TASKS
from sparsead.tasks.metrics import ClassificationScores
from sparsead.tasks.tsv import read_tsv

log = logging.getLogger(__name__)

SPLITS = ("train", "validation")


@TASKS.register("glue")
@dataclass(frozen=True)
class GlueTask:
    """Classification of a sentence or a pair of sentences.

    Args:
        name: of the task.
        inputs: columns of text, one or two.
        labels: names of the classes, in the order of their numbers.
        metrics: the main one first.
        max_length: tokens, special ones included, beyond which an example is cut.
        limit: use the first examples of each split only.
        path: folder in GLUE's layout; None loads `hub`, `hub_config` from the hub.
        files: split → file below `path`.
        tsv_columns: our column → the column's name in the file's header.
        tsv_labels: how the file writes each class, in the order of `labels`.
    """

    name: str
    inputs: Sequence[str]
    labels: Sequence[str]
    metrics: Sequence[str]
    max_length: int
    limit: int | None = None
    path: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    tsv_columns: Mapping[str, str] = field(default_factory=dict)
    tsv_labels: Sequence[str] = ()
    hub: str = ""
    hub_config: str = ""

    head = AutoModelForSequenceClassification

    @property
    def head_options(self) -> dict[str, Any]:
        """What the head needs in the model's configuration."""
        return {
            "num_labels": len(self.labels),
            "id2label": dict(enumerate(self.labels)),
            "label2id": {label: number for number, label in enumerate(self.labels)},
        }

    def load(self) -> DatasetDict:
        """Return the splits train and validation with the columns of `inputs` and `label`.

        Raises:
            DataError: a local file is malformed.
            SourceError: the hub's data set cannot be had.
        """
        splits = self._read() if self.path else self._download()
        chosen = DatasetDict({split: splits[split] for split in SPLITS})
        if self.limit is None:
            return chosen
        return DatasetDict(
            {split: rows.take(min(self.limit, len(rows))) for split, rows in chosen.items()}
        )

    def encode(self, splits: DatasetDict, tokenizer: PreTrainedTokenizerBase) -> DatasetDict:
        """Tokenise every split; say how many examples were cut at `max_length`."""
        encoded = splits.map(
            lambda rows: self._tokenise(rows, tokenizer),
            batched=True,
            remove_columns=splits["train"].column_names,
        )
        for split, rows in encoded.items():
            cut = sum(rows["cut"])
            log.info("%s: %d examples, %d cut at %d tokens", split, len(rows), cut, self.max_length)
        return encoded.remove_columns("cut")

    def encode_inputs(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
        """Tokenise the columns of `inputs` alone, cut at `max_length`: rows without labels."""

        def tokenise(batch: Mapping[str, list[Any]]) -> dict[str, Any]:
            texts = [batch[column] for column in self.inputs]
            return dict(tokenizer(*texts, truncation=True, max_length=self.max_length))

        return rows.map(tokenise, batched=True, remove_columns=rows.column_names)

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> DataCollatorWithPadding:
        """Return what makes a batch of examples, padded to the longest of them."""
        return DataCollatorWithPadding(tokenizer)

    def scores(self, prediction: EvalPrediction) -> dict[str, float]:
        """Return the metrics of logits of shape (examples, classes), the main one first."""
        logits = np.asarray(prediction.predictions)
        values: dict[str, float] = self._metric.compute(
            predictions=logits.argmax(axis=-1), references=prediction.label_ids
        )
        return values

    def predictions(self, output: EvalPrediction, _encoded: Dataset) -> list[dict[str, Any]]:
        """Return the class of each row, and the probability of every class.

        Args:
            output: logits of shape (rows, classes).
        """
        logits = torch.from_numpy(np.asarray(output.predictions, np.float64))
        return [
            {
                "prediction": self.labels[int(row.argmax())],
                "probabilities": dict(zip(self.labels, row.tolist(), strict=True)),
            }
            for row in logits.softmax(dim=-1)
        ]

    @cached_property
    def _metric(self) -> ClassificationScores:
        return ClassificationScores(self.metrics)

    def _tokenise(
        self, rows: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase
    ) -> dict[str, list[Any]]:
        texts = [rows[column] for column in self.inputs]
        whole = tokenizer(*texts, truncation=False, verbose=False)["input_ids"]
        encoded = tokenizer(*texts, truncation=True, max_length=self.max_length)
        cut = [len(ids) > self.max_length for ids in whole]
        return {**encoded, "labels": rows["label"], "cut": cut}

    def _download(self) -> DatasetDict:
        name = f"{self.hub}/{self.hub_config}"
        splits: DatasetDict = fetch(
            name, lambda: load_dataset(self.hub, self.hub_config), "task.path"
        )
        return splits

    def _read(self) -> DatasetDict:
        return DatasetDict(
            {
                split: self._dataset(self._labelled(Path(str(self.path)) / file))
                for split, file in self.files.items()
            }
        )

    def _labelled(self, path: Path) -> list[dict[str, Any]]:
        numbers = {text: number for number, text in enumerate(self.tsv_labels)}
        rows: list[dict[str, Any]] = list(read_tsv(path, self.tsv_columns))
        for line, row in enumerate(rows, start=2):
            if row["label"] not in numbers:
                allowed = ", ".join(self.tsv_labels)
                raise DataError(f"{path}:{line}: label {row['label']!r} is none of {allowed}")
            row["label"] = numbers[row["label"]]
        return rows

    def _dataset(self, rows: list[dict[str, Any]]) -> Dataset:
        dataset = Dataset.from_list(rows)
        return dataset.cast_column("label", ClassLabel(names=list(self.labels)))

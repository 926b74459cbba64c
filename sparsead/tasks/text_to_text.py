"""Tasks whose answer is a generated text: summaries and translations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from datasets import Dataset, DatasetDict
from tokenizers import Encoding
from transformers import (
    AutoModelForSeq2SeqLM,
    DataCollatorForSeq2Seq,
    PreTrainedTokenizerBase,
)

from sparsead.config.groups import SPLITS
from sparsead.config.values.contract import check_all
from sparsead.config.values.tasks import NO_FILE, TEXTS
from sparsead.errors import ConfigError
from sparsead.hub.sources import data_source
from sparsead.tasks.contract import TASKS
from sparsead.tasks.control_tokens import refuse_control_tokens
from sparsead.tasks.files import read_file
from sparsead.tasks.hub_rows import read_hub
from sparsead.tasks.rows import Rows, is_blank, quote_value
from sparsead.tasks.splits import first_examples, split_files
from sparsead.tasks.text_matches import warn_of_other_notations
from sparsead.tasks.text_scores import TextScores
from sparsead.tasks.words import ENGLISH, warn_of_other_languages

_NEEDED = ("train", "validation")


@TASKS.register("text_to_text")
@dataclass(frozen=True)
class TextToText:
    """Sequence-to-sequence learning: a target text is generated from a source text.

    Args:
        name: of the task.
        columns: `source`, `target` and, where there is one, `id` → the column's name in the
            data; `translation.en` is the key `en` of a column of objects.
        metrics: the main one first.
        max_length: greatest number of tokens of the source, special ones included; longer sources
            are truncated.
        target_length: the same for the target.
        prefix: text put before every source, as T5 requires it.
        scoring_tokenizers: what splits texts into words for the metrics `rouge` and `bleu`.
        generation: num_beams, max_new_tokens, min_new_tokens, length_penalty,
            no_repeat_ngram_size and early_stopping of transformers' GenerationConfig.
        generated_splits: the splits for which texts are generated after training; the scores of
            the first one are the run's.
        limit: use the first examples of each split only.
        path: folder of the files; None loads `hub` from the hub.
        files: split → file below `path`.
        hub: name of the data set, with `hub_config`.
        hub_splits: the task's split → the hub's split; besides train and validation only those of
            `generated_splits` are read.
        hub_revision: its branch that is read unless `revision` names a branch, tag or commit.
        train: the user's own .jsonl, .csv, .tsv or .parquet file, instead of path and hub.
        validation: as `train`.
        test: as `train`.
    """

    name: str
    columns: Mapping[str, str | None]
    metrics: Sequence[str]
    max_length: int
    target_length: int
    generation: Mapping[str, Any]
    generated_splits: Sequence[str]
    prefix: str = ""
    scoring_tokenizers: Mapping[str, str] = field(default_factory=lambda: dict(ENGLISH))
    limit: int | None = None
    path: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    hub: str | None = None
    hub_config: str | None = None
    hub_revision: str | None = None
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    revision: str | None = None
    hub_splits: Mapping[str, str] = field(default_factory=lambda: {s: s for s in SPLITS})

    method: ClassVar[str] = "text_to_text"
    head: ClassVar[type[Any]] = AutoModelForSeq2SeqLM
    head_options: Mapping[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        TextScores(self.metrics, self.scoring_tokenizers)
        check_all(TEXTS, vars(self))

    @property
    def inputs(self) -> Sequence[str]:
        """The column of the source texts."""
        return (str(self.columns["source"]),)

    def load(self) -> DatasetDict:
        """Return train, validation and the generated splits, with `id`, `source` and `target`.

        Raises:
            DataError: a local file is malformed, or the data set lacks one of the columns.
            SourceError: the data set cannot be loaded from the hub.
        """
        own = {split: getattr(self, split) for split in SPLITS}
        files = split_files(self.path, self.files, own)
        splits = first_examples(self._read(files) if files else self._download(), self.limit)
        true = [text for split in self.generated_splits for text in splits[split]["target"]]
        tokenizers = self._metric.tokenizers
        warn_of_other_languages("task.scoring_tokenizers", self.metrics, tokenizers, true)
        if "number_match" in self.metrics:
            metric = self._metric
            warn_of_other_notations(true, metric.answer_after, metric.decimal_mark)
        return splits

    def encode(self, splits: DatasetDict, tokenizer: PreTrainedTokenizerBase) -> DatasetDict:
        """Tokenise every split.

        `whole_length` is the number of tokens of the source before truncation. `target_cut` is true
        if the target was truncated, and `empty_text` if one of the texts is empty. All splits but
        train also have `id` and `reference`, the text of the target.
        """
        return DatasetDict(
            {
                split: self._encode(rows, tokenizer, scored=split != "train")
                for split, rows in splits.items()
            }
        )

    def encode_inputs(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
        """Tokenise source texts without targets, in the same way as a split that is scored."""
        numbers = [str(number) for number in range(len(rows))]
        sources = {"id": numbers, "source": rows[self.inputs[0]][:], "target": [""] * len(rows)}
        return self._encode(Dataset.from_dict(sources), tokenizer, scored=True)

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> DataCollatorForSeq2Seq:
        """Return the collator; the model itself shifts the labels to get the decoder's inputs."""
        return DataCollatorForSeq2Seq(tokenizer)

    @property
    def higher_is_better(self) -> dict[str, bool]:
        """For each metric, the main one first, whether a higher value is better."""
        return self._metric.higher_is_better

    def record_scores(self, records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return the metrics of records of `prediction` and `reference`, the main one first."""
        values: dict[str, float] = self._metric.compute(
            predictions=[record["prediction"] for record in records],
            references=[record["reference"] for record in records],
        )
        return values

    def example_scores(self, records: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
        """Return the scores of each record that are means; BLEU and chrF are none."""
        return self._metric.each(
            [record["prediction"] for record in records],
            [record["reference"] for record in records],
        )

    @property
    def _metric(self) -> TextScores:
        return TextScores(self.metrics, self.scoring_tokenizers)

    def _encode(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, scored: bool) -> Dataset:
        return rows.map(
            lambda batch: self._tokenise(batch, tokenizer, scored),
            batched=True,
            remove_columns=rows.column_names,
        )

    def _tokenise(
        self, batch: Mapping[str, list[str]], tokenizer: PreTrainedTokenizerBase, scored: bool
    ) -> dict[str, Any]:
        texts = [self.prefix + source for source in batch["source"]]
        source = tokenizer(texts, truncation=True, max_length=self.max_length)
        target = tokenizer(
            text_target=batch["target"], truncation=True, max_length=self.target_length
        )
        places = [f"{self.name}: example {name!r}" for name in batch["id"]]
        for encoded, given in ((source, texts), (target, batch["target"])):
            examples = [(each,) for each in given]
            refuse_control_tokens(tokenizer, encoded["input_ids"], examples, places)
        special = tokenizer.num_special_tokens_to_add()
        columns = {
            **source,
            "labels": target["input_ids"],
            "whole_length": [_whole_length(e, special) for e in source.encodings or []],
            "target_cut": [bool(encoding.overflowing) for encoding in target.encodings or []],
        }
        return columns | self._describe_texts(batch, scored)

    def _describe_texts(self, batch: Mapping[str, list[str]], scored: bool) -> dict[str, Any]:
        """Return which examples have an empty text and, if they are scored, their references."""
        empty = [
            is_blank(source) or is_blank(target)
            for source, target in zip(batch["source"], batch["target"], strict=True)
        ]
        if not scored:
            return {"empty_text": empty}
        return {"empty_text": empty, "id": batch["id"], "reference": batch["target"]}

    def _splits(self) -> list[str]:
        return list(dict.fromkeys((*_NEEDED, *self.generated_splits)))

    def _download(self) -> DatasetDict:
        if self.hub is None:
            raise ConfigError(NO_FILE["text_to_text"])
        revision = self.revision or self.hub_revision
        source = data_source(self.name, self.method, self.hub, self.hub_config, revision)
        missing = [split for split in self._splits() if split not in self.hub_splits]
        if missing:
            raise ConfigError(f"task.hub_splits: name the hub's split for {missing[0]}")
        wanted = {split: self.hub_splits[split] for split in self._splits()}
        read = read_hub(source, wanted, self._read_columns)
        return DatasetDict({split: self._texts(rows) for split, rows in read.items()})

    def _read(self, files: Mapping[str, Path]) -> DatasetDict:
        missing = [split for split in self._splits() if split not in files]
        if missing:
            raise ConfigError(f"task.{missing[0]}: name a .jsonl, .csv, .tsv or .parquet file")
        read = {split: read_file(files[split], self._read_columns) for split in self._splits()}
        return DatasetDict({split: self._texts(rows) for split, rows in read.items()})

    @property
    def _read_columns(self) -> list[str]:
        return [column for column in self.columns.values() if column]

    def _texts(self, rows: Rows) -> Dataset:
        texts = {name: rows.texts(str(self.columns[name])) for name in ("source", "target")}
        missing_answer = self._metric.missing_answer
        for number, text in enumerate(texts["target"]):
            if reason := missing_answer(text):
                raise rows.error(
                    number, str(self.columns["target"]), f"{quote_value(text)} {reason}"
                )
        return Dataset.from_dict({"id": self._ids(rows), **texts})

    def _ids(self, rows: Rows) -> list[str]:
        column = self.columns.get("id")
        if column is None:
            return [str(number) for number in range(len(rows.values))]
        rows.check_unique(column)
        return [str(value) for value in rows.column(column)]


def _whole_length(encoding: Encoding, special: int) -> int:
    return len(encoding) + sum(len(rest) - special for rest in encoding.overflowing)

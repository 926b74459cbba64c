"""Extractive question answering as in SQuAD v1.1: from the hub, or from SQuAD's JSON files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from transformers import (
    AutoModelForQuestionAnswering,
    BatchEncoding,
    EvalPrediction,
    PreTrainedTokenizerBase,
)

from sparsead.config.values.tasks import (
    NO_FILE,
    QUESTION_COLUMNS,
    check_hub_splits,
    check_question_columns,
    check_questions,
)
from sparsead.errors import ConfigError
from sparsead.hub.sources import data_source
from sparsead.tasks.answer_features import (
    answer_columns,
    context_places,
    cut_texts,
    mark_first_features,
)
from sparsead.tasks.answer_scores import AnswerScores, warn_of_other_answers
from sparsead.tasks.contract import TASKS
from sparsead.tasks.control_tokens import refuse_control_tokens
from sparsead.tasks.files import check_columns, read_file
from sparsead.tasks.hub_rows import load_splits
from sparsead.tasks.spans import Span, feature_spans, join_spans, probabilities
from sparsead.tasks.splits import first_examples, split_files
from sparsead.tasks.squad_json import (
    check_answer,
    check_question_rows,
    read_questions,
    read_squad,
)

SPLITS = ("train", "validation")
_TEXTS = ("question", "context")
_AS_SQUAD = {column: column for column in QUESTION_COLUMNS}
_WITH_COLUMNS = (".jsonl", ".parquet")


@TASKS.register("squad")
@dataclass(frozen=True)
class SquadTask:
    """Extractive question answering: the answer to a question is a span of its context.

    A context that is too long for one input becomes several features that overlap.

    Args:
        name: name of the task.
        metrics: names of the metrics, the main one first.
        max_length: greatest number of tokens of a feature, special ones included.
        stride: number of tokens that two neighbouring features of a context share.
        question_length: greatest number of tokens of a question; longer ones are truncated.
        answer_length: greatest number of tokens of a predicted answer.
        n_best: number of candidate answers to each question that are stored.
        limit: number of questions of each split to use, from the first on; None uses all.
        path: folder of the files; None loads `hub` from the hub.
        files: split → file below `path`.
        hub: name of the data set on the hub.
        hub_config: name of its configuration; None for its only one.
        hub_splits: the task's split → the hub's split. Those besides train and validation are
            scored once, after training.
        columns: id, question, context and answers → the column's name in the data. Files in
            SQuAD's JSON format always have the standard names. The examples are numbered if id is
            None.
        revision: the hub's branch, tag or commit; None for its main branch.
        train: the user's own file, instead of path and hub.
        validation: as `train`.
    """

    name: str
    metrics: Sequence[str]
    max_length: int
    stride: int
    question_length: int
    answer_length: int
    n_best: int
    limit: int | None = None
    path: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    hub: str = ""
    train: str | None = None
    validation: str | None = None
    revision: str | None = None
    hub_config: str | None = None
    hub_splits: Mapping[str, str] = field(default_factory=lambda: {s: s for s in SPLITS})
    columns: Mapping[str, str | None] = field(default_factory=lambda: dict(_AS_SQUAD))

    head = AutoModelForQuestionAnswering
    head_options: Mapping[str, Any] = field(default_factory=lambda: {"num_labels": 2}, init=False)

    def __post_init__(self) -> None:
        check_questions(vars(self))
        check_hub_splits(vars(self))
        check_question_columns(vars(self))
        AnswerScores(self.metrics)

    @property
    def inputs(self) -> Sequence[str]:
        """The columns of the question and of its context."""
        return [str(self.columns[text]) for text in _TEXTS]

    def read_json(self, path: Path) -> list[dict[str, Any]]:
        """Return the questions of a file in SQuAD's format, in the columns `inputs`."""
        names = dict(zip(_TEXTS, self.inputs, strict=True))
        return [
            {"id": row["id"]} | {theirs: row[ours] for ours, theirs in names.items()}
            for row in read_questions(path)
        ]

    def load(self) -> DatasetDict:
        """Return train, validation and further splits in the columns of the hub's SQuAD.

        Raises:
            DataError: a local file or the data set is malformed.
            SourceError: the data set cannot be loaded from the hub.
        """
        own = {split: getattr(self, split) for split in SPLITS}
        files = split_files(self.path, self.files, own)
        splits = first_examples(self._read(files) if files else self._download(), self.limit)
        scored = [rows["answers"][:] for split, rows in splits.items() if split != "train"]
        answers = [each["text"] for rows in scored for each in rows]
        warn_of_other_answers(self.metrics, answers)
        return splits

    def encode(self, splits: DatasetDict, tokenizer: PreTrainedTokenizerBase) -> DatasetDict:
        """Tokenise every split into features.

        Three boolean columns are true only for the first feature of a question: `questions` always,
        `question_cut` if the question was truncated, and `answer_lost` if no feature contains its
        whole answer. All splits but train also have the columns that `predictions` reads: the
        question's id, its context and its true answers, and each token's position in the context.

        Raises:
            ConfigError: `max_length` has no room for a question and the stride.
            DataError: an answer is blank or is not in its context; a file's are checked before.
        """
        self._check_room(tokenizer)
        return DatasetDict(
            {
                split: self._encode(rows, tokenizer, scored=split != "train")
                for split, rows in splits.items()
            }
        )

    def encode_inputs(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
        """Tokenise questions and contexts without answers, in the same way as a scored split."""
        self._check_room(tokenizer)
        unknown: dict[str, list[Any]] = {"text": [], "answer_start": []}
        texts = {ours: rows[given][:] for ours, given in zip(_TEXTS, self.inputs, strict=True)}
        numbered = Dataset.from_dict(texts).map(
            lambda _row, number: {"id": str(number), "answers": unknown}, with_indices=True
        )
        return self._encode(numbered, tokenizer, scored=True)

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Callable[[Any], BatchEncoding]:
        """Return the collator, which pads a batch to its longest feature.

        Padding is always on the right, whatever the tokenizer prefers, so that the positions of the
        answers do not change.
        """
        return partial(tokenizer.pad, padding_side="right", return_tensors="pt")

    def predictions(self, output: EvalPrediction, rows: Dataset) -> list[dict[str, Any]]:
        """Return the answers to the questions, one record each, in the order of the questions.

        Args:
            output: start and end logits, two arrays of shape (features, tokens).
            rows: the encoded split that they were computed from.
        """
        needed = ("id", "context", "references", "offset", "starts", "ends")
        features = zip(rows.select_columns(needed), *output.predictions, strict=True)
        return [
            self._answer(list(group))
            for _, group in groupby(features, key=lambda feature: feature[0]["id"])
        ]

    def decoded(self, output: EvalPrediction, rows: Dataset) -> list[dict[str, Any]]:
        """Return the answer to each question from `encode_inputs`, and its best candidates."""
        answered = self.predictions(output, rows)
        return [{key: record[key] for key in ("prediction", "n_best")} for record in answered]

    @property
    def higher_is_better(self) -> dict[str, bool]:
        """For each metric, the main one first, whether a higher value is better."""
        return AnswerScores(self.metrics).higher_is_better

    def record_scores(self, records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return the metrics of the records from `predictions`, the main one first."""
        values: dict[str, float] = AnswerScores(self.metrics).compute(
            predictions=[record["prediction"] for record in records],
            references=[record["references"] for record in records],
        )
        return values

    def example_scores(self, records: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
        """Return each metric of each record; the scores are their means."""
        return AnswerScores(self.metrics).each(
            [record["prediction"] for record in records],
            [record["references"] for record in records],
        )

    def _answer(self, features: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
        row = features[0][0]
        best = join_spans(
            (span for feature in features for span in self._spans(*feature)), self.n_best
        )
        n_best = [
            {"text": row["context"][span.start : span.end], "start": span.start, "probability": p}
            for span, p in zip(best, probabilities(best), strict=True)
        ]
        return {
            "id": row["id"],
            "prediction": n_best[0]["text"] if n_best else "",
            "references": row["references"],
            "n_best": n_best,
        }

    def _spans(self, row: Mapping[str, Any], start: Any, end: Any) -> list[Span]:
        tokens = slice(row["offset"], row["offset"] + len(row["starts"]))
        return feature_spans(
            row["starts"], row["ends"], start[tokens], end[tokens], self.n_best, self.answer_length
        )

    def _check_room(self, tokenizer: PreTrainedTokenizerBase) -> None:
        special = tokenizer.num_special_tokens_to_add(pair=True)
        room = self.max_length - special - self.question_length - self.stride
        if room < 1:
            raise ConfigError(
                f"task.max_length={self.max_length}: leaves no room beside {special} special "
                f"tokens, task.question_length={self.question_length} and "
                f"task.stride={self.stride}"
            )

    def _encode(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, scored: bool) -> Dataset:
        return rows.map(
            lambda batch: self._features(batch, tokenizer, scored),
            batched=True,
            remove_columns=rows.column_names,
        )

    def _features(
        self, batch: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, scored: bool
    ) -> dict[str, list[Any]]:
        for name, context, answers in zip(
            batch["id"], batch["context"], batch["answers"], strict=True
        ):
            for text, start in zip(answers["text"], answers["answer_start"], strict=True):
                check_answer(f"{self.name}: question {name!r}", text, start, context)
        questions, cut = cut_texts(batch["question"], tokenizer, self.question_length)
        encoded = tokenizer(
            questions,
            batch["context"],
            truncation="only_second",
            max_length=self.max_length,
            stride=self.stride,
            return_overflowing_tokens=True,
        )
        question_of = encoded.pop("overflow_to_sample_mapping")
        refuse_control_tokens(
            tokenizer,
            encoded["input_ids"],
            [(questions[question], batch["context"][question]) for question in question_of],
            [f"{self.name}: question {batch['id'][question]!r}" for question in question_of],
        )
        columns = dict(encoded) | answer_columns(encoded, question_of, batch["answers"])
        first = mark_first_features(question_of)
        columns["questions"] = first
        columns["question_cut"] = [
            new and cut[question] for new, question in zip(first, question_of, strict=True)
        ]
        if not scored:
            return columns
        return columns | {
            "id": [batch["id"][question] for question in question_of],
            "context": [batch["context"][question] for question in question_of],
            "references": [batch["answers"][question]["text"] for question in question_of],
            **context_places(encoded),
        }

    def _download(self) -> DatasetDict:
        if not self.hub:
            raise ConfigError(NO_FILE["squad"])
        source = data_source(self.name, "squad", self.hub, self.hub_config, self.revision)
        loaded = load_splits(source, self.hub_splits)
        return DatasetDict(
            {split: self._checked(f"{source}: {split}", rows) for split, rows in loaded.items()}
        )

    def _checked(self, place: str, rows: Dataset) -> Dataset:
        """Return the questions of a data set on the hub under the names that SQuAD has for them."""
        named = {theirs: ours for ours, theirs in self.columns.items() if theirs is not None}
        check_columns(place, list(named), rows.column_names)
        if any(ours != theirs for theirs, ours in named.items()):
            rows = rows.select_columns(list(named)).rename_columns(named)
        if self.columns["id"] is None:
            numbers = [str(number) for number in range(len(rows))]
            rows = rows.select_columns(list(named.values())).add_column("id", numbers)
        check_question_rows(place, rows.select_columns(list(QUESTION_COLUMNS)))
        return rows

    def _read(self, files: Mapping[str, Path]) -> DatasetDict:
        missing = [split for split in SPLITS if split not in files]
        if missing:
            raise ConfigError(
                f"task.{missing[0]}: name a SQuAD JSON file, or a .jsonl or .parquet file"
            )
        return DatasetDict(
            {split: Dataset.from_list(self._read_file(file)) for split, file in files.items()}
        )

    def _read_file(self, file: Path) -> list[dict[str, Any]]:
        """Return the questions of a JSON file in SQuAD's format, or of a file with columns."""
        if file.suffix in _WITH_COLUMNS:
            named = {ours: theirs for ours, theirs in self.columns.items() if theirs is not None}
            rows = read_file(file, list(named.values()))
            found = [
                {"id": str(number)} | {ours: row[theirs] for ours, theirs in named.items()}
                for number, row in enumerate(rows.values)
            ]
            check_question_rows(str(file), found, rows.lines)
            return [row | {"answers": _only_answers(row["answers"])} for row in found]
        if dict(self.columns) != _AS_SQUAD:
            raise ConfigError(
                f"task.columns={dict(self.columns)}: {file} is read in SQuAD's format, which has "
                f"no columns; a file with columns ends in {' or '.join(_WITH_COLUMNS)}"
            )
        return read_squad(file)


def _only_answers(answers: Mapping[str, Any]) -> dict[str, Any]:
    return {key: answers[key] for key in ("text", "answer_start")}

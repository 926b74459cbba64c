"""Rebuild the model of a finished run from its record, ready for predictions."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sparsead.adapters.adapted import AdaptedModel
from sparsead.adapters.chosen import restore_chosen
from sparsead.assembly.build import build_adapter, build_task, insert_adapter
from sparsead.assembly.weights import check_tensors
from sparsead.backbones.loading import Backbone, load_backbone
from sparsead.config.groups import SPLITS
from sparsead.config.run import RunSpec
from sparsead.errors import ConfigError, DataError, RecordError, SourceError, SparseadError
from sparsead.errors.memory import lacks_memory
from sparsead.pruning.masks import Masks
from sparsead.pruning.storage import WEIGHTS_FILE, check_config, load_weights
from sparsead.report.outcome import describe_scores, describe_setting
from sparsead.runs.prerequisites import drop_sources
from sparsead.runs.query import find_trusted_run
from sparsead.runs.record import RunRecord
from sparsead.runs.result import rebuilt_config
from sparsead.tasks.cache import count_cut_examples, without_bars
from sparsead.tasks.contract import (
    Collator,
    DecodesOutputs,
    EncodesNewRows,
    GeneratesText,
    NewRow,
    ReadsNewRows,
    Record,
    Task,
)
from sparsead.tasks.examples import encode_new_rows
from sparsead.tasks.files import read_file, read_layout, read_mappings
from sparsead.tasks.rows import Rows, is_text, quote_value
from sparsead.training.emulation import fast_products
from sparsead.training.generation import TextGenerator, generate_texts
from sparsead.training.inference import model_outputs
from sparsead.training.precision import frozen_stored
from sparsead.training.prediction import has_nan
from sparsead.training.unpadded import unpad

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedRun:
    """A run's model in eval mode on the CPU, its tokenizer and its task.

    The removed weights of the model are zero, and stay zero if it is trained further. `record` is
    what the run's folder holds.
    """

    spec: RunSpec
    adapted: AdaptedModel
    masks: Masks
    tokenizer: PreTrainedTokenizerBase
    task: Task
    precision: str
    collator: Collator
    record: RunRecord

    def __repr__(self) -> str:
        """Return three lines: what was trained, its scores in percent, and the folder."""
        setting = describe_setting(self.spec)
        return f"TrainedRun: {setting}\n{describe_scores(self.record)}\n{self.folder}"

    @property
    def folder(self) -> Path:
        """The folder of the run's record."""
        return self.record.folder

    @property
    def scores(self) -> dict[str, float | None]:
        """The run's scores as shares between 0 and 1, the main one first; None if not defined."""
        return dict(self.record.result["scores"])

    @property
    def history(self) -> list[dict[str, Any]]:
        """Each evaluation's epoch, losses and scores, the scores as shares between 0 and 1.

        They are of validation or, if the protocol holds out a part of train, of that part.
        """
        return list(self.record.result.get("history", []))

    @property
    def model(self) -> PreTrainedModel:
        """The backbone with the trained adapter and head."""
        return self.adapted.model

    @property
    def inputs(self) -> Sequence[str]:
        """Names of the text columns that the task reads from a row.

        Raises:
            ConfigError: the task only reads the rows of its own splits.
        """
        return self._reader().inputs

    def predict(self, rows: Iterable[Mapping[str, Any]]) -> list[Record]:
        """Return the task's prediction for each row, in the order of the rows.

        Precision and batch size are those of the run's evaluation.

        Args:
            rows: rows with the columns `inputs`; other columns are ignored. Tasks of SuperGLUE also
                take rows in the form of its files.

        Raises:
            ConfigError: the task only reads the rows of its own splits.
            DataError: a row lacks one of these columns, or its value is not a text.
        """
        reader = self._reader()
        rows = list(rows)
        if not rows:
            return []
        if isinstance(reader, ReadsNewRows):
            return self._predict_given(reader.new_rows(read_mappings(rows, reader.layouts)))
        for number, row in enumerate(rows):
            _check_row(number, row, reader.inputs)
        columns = [{column: row[column] for column in reader.inputs} for row in rows]
        return self._predict_given([NewRow(*each) for each in enumerate(columns)])

    def read_rows(self, file: Path) -> tuple[Rows, Sequence[NewRow]]:
        """Return the rows of a file, and the inputs to be predicted in them.

        Raises:
            ConfigError: the task only reads the rows of its own splits.
            DataError: the file is malformed or lacks a column, or a value is not a text.
        """
        reader = self._reader()
        if isinstance(reader, ReadsNewRows):
            rows = read_layout(file, reader.layouts)
            return rows, reader.new_rows(rows)
        rows = read_file(file, reader.inputs)
        texts = {column: rows.texts(column) for column in reader.inputs}
        columns = [dict(zip(texts, row, strict=True)) for row in zip(*texts.values(), strict=True)]
        return rows, [NewRow(*each) for each in enumerate(columns)]

    def predict_new(self, rows: Sequence[NewRow], places: Sequence[str]) -> list[Record]:
        """Return the task's prediction for each of at least one new row, in their order.

        Raises:
            DataError: a text cannot be encoded; the message begins with its place in `places`.
            RecordError: the model's outputs are nan.
        """
        with without_bars():
            encoded = encode_new_rows(self._reader(), rows, places, self.tokenizer)
        if cut := count_cut_examples(encoded):
            longest, all_rows = self.spec.task.max_length, max(len(rows), len(encoded))
            log.warning("%d of %d rows are truncated to %d tokens", cut, all_rows, longest)
        trains = self.model.training
        products = fast_products(self.precision, self.model.device.type)
        draws = torch.random.fork_rng(devices=[])  # the caller's go on as they would have
        try:
            self.model.eval()
            with frozen_stored(self.adapted, self.precision), products, draws:
                return self._predicted(encoded)
        finally:
            self.model.train(trains)

    def _predict_given(self, rows: Sequence[NewRow]) -> list[Record]:
        """Predict rows that a call gives, which counts them from 0 as Python does."""
        return self.predict_new(rows, [f"row {row.row}" for row in rows])

    def _reader(self) -> EncodesNewRows:
        name = self.spec.task.name
        if not isinstance(self.task, EncodesNewRows):
            raise ConfigError(f"task={name}: has no method 'encode_inputs' to predict new rows")
        if not isinstance(self.task, GeneratesText | DecodesOutputs):
            raise ConfigError(f"task={name}: has no method 'decoded' to predict new rows")
        return self.task

    def _predicted(self, encoded: Dataset) -> list[Record]:
        batch_size = self.spec.protocol.eval_batch_size
        if isinstance(self.task, GeneratesText):
            self._refuse_nan(any(bool(w.isnan().any()) for w in self._trained_weights()))
            generator = TextGenerator(
                model=self.model,
                task=self.task,
                tokenizer=self.tokenizer,
                collator=self.collator,
                batch_size=batch_size,
                precision=self.precision,
            )
            return [{"prediction": text} for text in generate_texts(generator, encoded)]
        assert isinstance(self.task, DecodesOutputs)
        outputs = model_outputs(
            self.model, encoded, self.collator, batch_size=batch_size, precision=self.precision
        )
        self._refuse_nan(has_nan(outputs.predictions))
        return self.task.decoded(outputs, encoded)

    def _trained_weights(self) -> Iterable[torch.Tensor]:
        return self.adapted.trained_state().values()

    def _refuse_nan(self, outputs_are_nan: bool) -> None:
        if outputs_are_nan:
            raise RecordError(f"{self.folder}: its model's outputs are nan, which predict nothing")


def load(
    run: str | Path,
    outputs: str | Path = "outputs",
    backbone: str | Path | None = None,
    trust: str | Sequence[str] | None = None,
) -> TrainedRun:
    """Rebuild the model of a finished run: backbone, adapter, sparse weights and head.

    Args:
        run: the run's folder, its identity or a part of its name that no other run has.
        outputs: folder of the runs.
        backbone: folder of the backbone; None loads it from where the run loaded it.
        trust: the packages whose code the record may name, such as `my_package`. Without them it
            may name the project's own methods and backbones only, and nothing else is imported.

    Raises:
        ConfigError: the record names code of a package that is not trusted.
        RecordError: there is no such run, or its weights cannot be read or do not fit.
        SourceError: the backbone cannot be loaded, or is not the one that the run was trained on.
    """
    record = find_trusted_run(str(run), Path(outputs), trust)
    stored = load_weights(record)
    spec, precision = recorded_spec(record, backbone), _recorded_precision(record)
    with translate_rebuild_errors(record):
        task, adapter = build_task(spec), build_adapter(spec)
        check_config(record, stored)
        source = load_backbone(spec.backbone)
        source.check_length("task.max_length", spec.task.max_length)
        _check_fingerprint(record, source, stored.metadata.get("backbone", {}))
        with torch.random.fork_rng(devices=[]):
            model = source.model(task.head, task.head_options, spec.seeds.init)
            adapted = insert_adapter(spec, adapter, model)
    tensors = {name: torch.from_numpy(tensor) for name, tensor in stored.tensors.items()}
    if adapted.budget is not None:
        adapted = _restore_chosen(record, adapted, tensors)
    _load_weights(record, adapted, tensors)
    masks = Masks({name: torch.from_numpy(mask) for name, mask in stored.masks.items()})
    masks.enforce(model)
    model.eval()
    collator = unpad(model, task.collator(source.tokenizer), precision)
    return TrainedRun(spec, adapted, masks, source.tokenizer, task, precision, collator, record)


def _restore_chosen(
    record: RunRecord, adapted: AdaptedModel, tensors: Mapping[str, torch.Tensor]
) -> AdaptedModel:
    try:
        return restore_chosen(adapted, tensors)
    except ConfigError as error:
        raise RecordError(f"{record.folder / WEIGHTS_FILE}: {error}") from error


@contextmanager
def translate_rebuild_errors(record: RunRecord) -> Iterator[None]:
    """Turn an error of rebuilding a model into one that names its record.

    Raises:
        RecordError: Python or a library raised an error: the recorded values have the right types
            but cannot be used together.
    """
    try:
        yield
    except (SparseadError, OSError):
        raise
    except Exception as error:
        if lacks_memory(error):
            raise
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise RecordError(
            f"{record.folder}: cannot be rebuilt from its configuration ({reason})"
        ) from error


def recorded_spec(record: RunRecord, backbone: str | Path | None) -> RunSpec:
    """Return the run's configuration.

    Sources are dropped: they are not needed, because this run's weights file holds their weights.

    Args:
        record: the run.
        backbone: folder of the backbone; None leaves it where the run loaded it.

    Raises:
        ConfigError: the folder of the backbone does not exist.
        RecordError: the record lacks a part of the configuration.
    """
    try:
        config = rebuilt_config(record.result)
        source = config["backbone"] | ({} if backbone is None else {"path": str(backbone)})
        # The training data is not needed, and may have been deleted: clear the paths to it.
        task = config["task"] | dict.fromkeys(("path", *SPLITS))
        spec = RunSpec.from_dict(config | {"backbone": source, "task": task})
        return drop_sources(spec)
    except (KeyError, TypeError) as error:
        raise RecordError(f"{record.folder}: is not the result of a run ({error!r})") from error
    except ConfigError as error:
        moved = str(error).startswith("backbone.path=") and backbone is None
        hint = "; name it with --backbone FOLDER, or load(…, backbone=FOLDER)" if moved else ""
        raise ConfigError(f"{record.folder}: {error}{hint}") from error


def _recorded_precision(record: RunRecord) -> str:
    try:
        return str(record.result["environment"]["precision"])
    except KeyError as error:
        raise RecordError(f"{record.folder}: is not the result of a run (no {error})") from error


def _check_fingerprint(
    record: RunRecord, backbone: Backbone, trained_on: Mapping[str, str]
) -> None:
    found = backbone.fingerprint()
    for file in sorted({*found, *trained_on}):
        if found.get(file) != trained_on.get(file):
            raise SourceError(
                f"{record.folder}: was trained on another backbone: {file} had the SHA-256 "
                f"{trained_on.get(file)}, {backbone.folder} has {found.get(file)}"
            )


def _check_row(number: int, row: Any, columns: Sequence[str]) -> None:
    if not isinstance(row, Mapping):
        named = ", ".join(f"{column}: text" for column in columns)
        raise DataError(f"row {number}: {quote_value(row)} is not a mapping such as {{{named}}}")
    for column in columns:
        if column not in row:
            raise DataError(f"row {number}: {column} is missing")
        if not is_text(row[column]):
            raise DataError(f"row {number}: {column}: {quote_value(row[column])} is not a text")


def _load_weights(
    record: RunRecord, adapted: AdaptedModel, state: Mapping[str, torch.Tensor]
) -> None:
    check_tensors(record, adapted, state)
    adapted.model.load_state_dict(dict(state), strict=False)

"""The predictions in a run's record: what is kept, and what is refused when it is read."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

import sparsead
from composing import ask_for
from sparsead.errors import RecordError
from sparsead.runs.predictions import (
    list_predicted_splits,
    predictions_file,
    read_predictions,
    write_predictions,
)
from sparsead.runs.record import RunRecord
from sparsead.train import train
from watched_memory import watched_memory

CLASSES = [
    {"id": 7, "label": "no", "prediction": "yes", "probabilities": {"no": 0.25, "yes": 0.75}},
    {"id": 8, "label": "no", "prediction": "no", "probabilities": {"no": 1.0, "yes": 0.0}},
]


def record(folder: Path, **described: Any) -> RunRecord:
    """A run that keeps `CLASSES`; `described` replaces what its result says about them."""
    described = write_predictions(folder, "validation", CLASSES, "c0ffee") | described
    result = {"identity": "c0ffee", "scores": {"accuracy": 0.5}}
    return RunRecord(folder, result | {"predictions": {"validation": described}})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    frame = read_predictions(record(tmp_path))
    columns = ["id", "label", "prediction", "probabilities.no", "probabilities.yes"]
    assert list(frame.columns) == columns
    assert frame.to_numpy().tolist() == [["7", "no", "yes", 0.25, 0.75], ["8", "no", "no", 1, 0]]


@pytest.mark.parametrize("value", [0.1, -3e9, math.nan, math.inf])
def test_a_number_is_kept_to_32_bits(tmp_path: Path, value: float) -> None:
    records = [{"id": 0, "prediction": value}]
    described = write_predictions(tmp_path, "test", records, "c0ffee")
    result = {"identity": "c0ffee", "predictions": {"test": described}}
    (read,) = read_predictions(RunRecord(tmp_path, result))["prediction"]
    assert np.float32(value).tobytes() == np.float32(read).tobytes()


def test_the_predictions_of_a_large_split_are_compact(tmp_path: Path) -> None:
    """As many as QQP's development set has: less than half a megabyte."""
    shares = np.random.default_rng(0).random(40_430)
    names = ("not_duplicate", "duplicate")
    records = [
        {
            "id": number,
            "label": names[number % 2],
            "prediction": names[share > 0.5],
            "probabilities": {"not_duplicate": 1 - share, "duplicate": share},
        }
        for number, share in enumerate(shares.tolist())
    ]
    write_predictions(tmp_path, "validation", records, "c0ffee")
    assert predictions_file(tmp_path, "validation").stat().st_size < 500_000


def damaged(file: Path, **changes: Any) -> str:
    """Replace the file by one with other columns or metadata, and return its SHA-256."""
    columns = {"id": ["7", "8"], "prediction": ["yes", "no"]} | changes
    metadata = {"sparsead.identity": str(columns.pop("identity", "c0ffee"))}
    kept = {name: values for name, values in columns.items() if values is not None}
    table = pyarrow.table(kept).replace_schema_metadata(metadata)
    parquet.write_table(table, file)
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"identity": "badc0de"}, "belongs to the run badc0de; it is not a file of this run"),
        ({"identity": ""}, "names no run; it is not a file of this run"),
        ({"prediction": None}, "has no column prediction"),
        ({"id": None}, "has no column id"),
        ({"id": ["7", None]}, "column id: an example has no id"),
        ({"id": ["7"], "prediction": ["no"]}, "has 1 examples, result.json says 2"),
        ({"id": [7, 8]}, "column id: has values of the type int64"),
        ({"accuracy": ["a", "b"]}, "column accuracy: has values of the type string"),
        ({"probabilities": [0.1, 0.2]}, "column probabilities: has values of the type double"),
        ({"probabilities": [{"no": "a"}] * 2}, "column probabilities: has values of the type str"),
        (
            {"prediction": [0.1, 0.2], "label": ["a", "b"]},
            "column label: has values of the type str",
        ),
        ({"label": [["a"], ["b"]]}, "column label: has values of the type list"),
        ({"prediction": [{"a": 1}] * 2}, "column prediction: has values of the type struct"),
        ({"x": [date.max] * 2}, "column x: has values of the type date32"),
        ({"x": [b"\xff"] * 2}, "column x: has values of the type binary"),
        ({"x": [{"y": 1}] * 2, "x.y": [1, 2]}, r"has two columns x\.y"),
    ],
)
def test_a_file_that_is_not_the_run_s_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    run = record(tmp_path)
    digest = damaged(predictions_file(tmp_path, "validation"), **changes)
    run.result["predictions"]["validation"]["sha256"] = digest
    with pytest.raises(RecordError, match=message):
        read_predictions(run)


def test_examples_that_the_result_does_not_have_are_not_decoded(tmp_path: Path) -> None:
    run = record(tmp_path)
    numbers = pyarrow.chunked_array([pyarrow.array([1.0] * 1000, pyarrow.float32())] * 4000)
    ids = pyarrow.chunked_array([pyarrow.array(["a"] * 1000)] * 4000)
    digest = damaged(predictions_file(tmp_path, "validation"), id=ids, prediction=numbers)
    run.result["predictions"]["validation"]["sha256"] = digest
    with watched_memory() as most, pytest.raises(RecordError, match="has 4000000 examples"):
        read_predictions(run)
    assert most() < 1 << 22


def test_each_flipped_bit_is_noticed(tmp_path: Path) -> None:
    run = record(tmp_path)
    file = predictions_file(tmp_path, "validation")
    content = file.read_bytes()
    for place in range(0, len(content), 97):
        flipped = bytearray(content)
        flipped[place] ^= 1
        file.write_bytes(flipped)
        with pytest.raises(RecordError, match="does not have the SHA-256"):
            read_predictions(run)


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    content = b"PAR1 and nothing else"
    run = record(tmp_path, sha256=hashlib.sha256(content).hexdigest())
    predictions_file(tmp_path, "validation").write_bytes(content)
    with pytest.raises(RecordError, match="is not a file of predictions") as raised:
        read_predictions(run)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("split", ["../../etc/passwd", "a/b", "", "a b"])
def test_the_name_of_a_split_cannot_lead_elsewhere(tmp_path: Path, split: str) -> None:
    run = RunRecord(tmp_path, {"identity": "c0ffee", "predictions": {split: {}}})
    with pytest.raises(RecordError, match=r"result\.json: predictions: "):
        read_predictions(run, split)


@pytest.mark.parametrize("described", [[], {}, 3, {"validation": 3}, {"validation": {}}])
def test_a_result_that_does_not_describe_them_is_refused(tmp_path: Path, described: Any) -> None:
    run = record(tmp_path)
    run.result["predictions"] = described
    with pytest.raises(RecordError):
        read_predictions(run)


def test_an_older_record_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="train it again with rerun=true"):
        read_predictions(RunRecord(tmp_path, {"identity": "c0ffee"}))


def test_a_missing_file_and_an_unknown_split_are_named(tmp_path: Path) -> None:
    run = record(tmp_path)
    with pytest.raises(RecordError, match="split=valid: no such choice; did you mean validation"):
        read_predictions(run, "valid")
    predictions_file(tmp_path, "validation").unlink()
    with pytest.raises(RecordError, match=r"validation\.parquet: cannot be read \(No such file"):
        read_predictions(run)


def answer_f1(row: dict[str, Any]) -> float:
    return max(_word_f1(row["prediction"], reference) for reference in row["references"])


def _word_f1(prediction: str, reference: str) -> float:
    def words(text: str) -> list[str]:
        kept = "".join(c for c in text.lower() if c.isalnum() or c.isspace())
        return [word for word in kept.split() if word not in ("a", "an", "the")]

    one, two = words(prediction), words(reference)
    common = sum(min(one.count(word), two.count(word)) for word in set(one))
    return 2 * common / (len(one) + len(two)) if common else 0.0


def bigram_f1(row: dict[str, Any]) -> float:
    def pairs(text: str) -> list[tuple[str, str]]:
        kept = "".join(c if c.isascii() and c.isalnum() else " " for c in text.lower())
        return list(zip(words := kept.split(), words[1:], strict=False))

    one, two = pairs(row["prediction"]), pairs(row["reference"])
    common = sum(min(one.count(pair), two.count(pair)) for pair in set(one))
    return 2 * common / (len(one) + len(two)) if common else 0.0


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["default", "clean"])
@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ("demo_mrpc", lambda f: float((f["label"] == f["prediction"]).mean())),
        ("demo_stsb", lambda f: float(np.corrcoef(f["label"], f["prediction"])[0, 1])),
        ("demo_squad", lambda f: float(np.mean([answer_f1(r) for r in f.to_dict("records")]))),
        ("demo_xsum", lambda f: float(np.mean([bigram_f1(r) for r in f.to_dict("records")]))),
    ],
)
def test_a_run_keeps_what_its_scores_are_computed_from(
    tmp_path: Path, task: str, metric: Any, protocol: str
) -> None:
    backbone = "tiny-bart" if task == "demo_xsum" else "tiny-bert"
    run = train(
        ask_for(
            *(f"task={task}", f"backbone={backbone}", f"protocol={protocol}", "device=cpu"),
            *("protocol.epochs=1", "task.limit=40", f"outputs={tmp_path}"),
        )
    )
    kept = {"default": ["validation"], "clean": ["test", "validation"]}[protocol]
    assert list_predicted_splits(run) == kept
    files = sorted(path.name for path in run.folder.iterdir())
    parquets = sorted(f"predictions-{split}.parquet" for split in kept)
    assert files == ["adapter.safetensors", "config.yaml", *parquets, "result.json"]
    frame = sparsead.predictions(run.folder)
    assert frame["id"].is_unique
    assert metric(frame) == pytest.approx(next(iter(run.result["scores"].values())), abs=1e-6)
    if protocol == "clean":
        chosen_by = next(iter(run.result["selection"].values()))
        held_out = sparsead.predictions(run.folder, "validation")
        assert metric(held_out) == pytest.approx(chosen_by, abs=1e-6)
        assert len(held_out) == 4
    if task == "demo_mrpc":
        shares = frame[[name for name in frame if name.startswith("probabilities.")]]
        assert shares.sum(axis=1).to_numpy() == pytest.approx(1)
        chosen = shares.idxmax(axis=1).str.removeprefix("probabilities.")
        assert (chosen == frame["prediction"]).all()
    described = json.loads((run.folder / "result.json").read_text())["predictions"]
    assert {split: each["examples"] for split, each in described.items()} == {
        split: len(sparsead.predictions(run.folder, split)) for split in kept
    }

"""The verb predict: rows of files, and GLUE's test sets for its server."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

import sparsead
import sparsead.train as train
from composing import ask_for
from sparsead.commands import predict
from sparsead.errors import ConfigError, DataError
from sparsead.runs.record import RunRecord

TEXTS = {"sentence1": "The ship sank.", "sentence2": "A vessel went down — Zürich."}
QUICK = ("backbone=tiny-bert", "device=cpu", "protocol.epochs=1", "task.limit=9")


@pytest.fixture
def run(tmp_path: Path, glue_fixture: Path) -> RunRecord:
    request = ask_for(
        "task=mrpc", f"task.path={glue_fixture}", *QUICK, f"outputs={tmp_path}/outputs"
    )
    return train.train(request)


def verb(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["sparsead predict", *map(str, arguments)])
    predict.main()


@pytest.mark.slow
def test_the_verb_reads_three_formats_and_writes_json_lines(
    run: RunRecord,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [{"id": "a", **TEXTS}, {"id": "b", "sentence1": 'One "x", y.', "sentence2": "Two."}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with (tmp_path / "in.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    lines = [list(rows[0]), *(row.values() for row in rows)]
    (tmp_path / "in.tsv").write_text("".join("\t".join(line) + "\n" for line in lines))
    outputs = []
    on_cpu = (run.folder, "--device", "cpu")
    for suffix in ("jsonl", "csv", "tsv"):
        verb(monkeypatch, *on_cpu, "--input", tmp_path / f"in.{suffix}")
        outputs.append(capsys.readouterr().out)
    per_format = [[json.loads(line) for line in text.splitlines()] for text in outputs]
    assert [[record.pop("line") for record in records] for records in per_format] == [
        [1, 2],
        [2, 3],
        [2, 3],
    ]
    assert per_format[0] == per_format[1] == per_format[2]
    for record in per_format[0]:
        assert list(record) == ["prediction", "probabilities"]
        assert sum(record["probabilities"].values()) == pytest.approx(1)
        best = max(record["probabilities"], key=record["probabilities"].get)
        assert record["prediction"] == best
    target = tmp_path / "out.jsonl"
    verb(monkeypatch, *on_cpu, "--input", tmp_path / "in.csv", "--output", target)
    assert target.read_text() == outputs[1]
    with pytest.raises(ConfigError, match="exists already"):
        verb(monkeypatch, *on_cpu, "--input", tmp_path / "in.csv", "--output", target)


@pytest.mark.slow
def test_a_row_that_is_cut_is_said(run: RunRecord, caplog: pytest.LogCaptureFixture) -> None:
    long = {"sentence1": "word " * 400, "sentence2": "b"}
    sparsead.load(run.folder).predict([TEXTS, long])
    assert "1 of 2 rows are truncated to 512 tokens" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"sentence1": "a", "sentence2": "b"}\n{', "in.jsonl:2: character 2"),
        ('{"sentence1": "a", "sentence": "b"}', "did you mean sentence?"),
        ('\n{"sentence1": "a", "sentence2": 2}', "in.jsonl:2: sentence2: 2 is not a text"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(
    run: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    (tmp_path / "in.jsonl").write_text(text)
    with pytest.raises(DataError, match=re.escape(words)):
        verb(
            monkeypatch, run.folder, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_row_that_cannot_be_encoded_is_refused_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = ("device=cpu", f"outputs={tmp_path}/outputs")
    small = ("backbone=tiny-qwen", "protocol.epochs=1", "task.limit=4", "task.suffix=''")
    record = train.train(ask_for("task=demo_sums", *small, *places))
    (column,) = sparsead.load(record.folder).inputs
    rows = [{column: text} for text in ("1 + 1", "2 + 2", "", "3 + 3", "")]
    file = tmp_path / "in.jsonl"
    file.write_text("\n".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"^\S*in\.jsonl:5: has an empty prompt"):
        verb(monkeypatch, record.folder, "--device", "cpu", "--input", file)
    with pytest.raises(DataError, match=r"^row 2: has an empty prompt"):
        sparsead.load(record.folder).predict(rows)


@pytest.mark.slow
def test_the_questions_of_superglue_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"premise": f"It rained {n}.", "question": "effect", "choice1": "Wet.", "choice2": "Dry."}
        for n in range(4)
    ]
    labelled = [row | {"label": n % 2, "idx": n} for n, row in enumerate(rows)]
    (tmp_path / "COPA").mkdir()
    for name, written in (("COPA/train", labelled), ("COPA/val", labelled), ("new", rows)):
        text = "".join(json.dumps(row) + "\n" for row in written)
        (tmp_path / f"{name}.jsonl").write_text(text, "utf-8")
    request = ask_for("task=copa", f"task.path={tmp_path}", *QUICK, f"outputs={tmp_path}/outputs")
    record = train.train(request)
    verb(monkeypatch, record.folder, "--device", "cpu", "--input", tmp_path / "new.jsonl")
    answered = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [list(each) for each in answered] == [["line", "prediction", "candidates", "right"]] * 4
    stored = sparsead.predictions(record.folder)
    assert [each["prediction"] for each in answered] == stored["prediction"].tolist()
    assert sparsead.load(record.folder).predict(rows)[0]["prediction"] in ("Wet.", "Dry.")


FILES = {
    "mnli": ["train", "dev_matched", "dev_mismatched"],
    "stsb": ["train", "dev"],
}
TESTS = {
    "mnli": ["MNLI/test_matched", "MNLI/test_mismatched", "diagnostic/diagnostic"],
    "stsb": ["STS-B/test"],
}
LABELS = {
    "mnli": ("gold_label", ["entailment", "neutral", "contradiction"]),
    "stsb": ("score", ["0.5", "2.5", "4.5"]),
}
INPUTS = {"mnli": ("premise", "hypothesis"), "stsb": ("sentence1", "sentence2")}
SUBMITTED = {"mnli": ["MNLI-m.tsv", "MNLI-mm.tsv", "AX.tsv"], "stsb": ["STS-B.tsv"]}


def table(file: Path, *columns: tuple[str, list[str]]) -> None:
    lines = ["\t".join(values) for values in zip(*(values for _, values in columns), strict=True)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(["\t".join(name for name, _ in columns), *lines, ""]), "utf-8")


def pairs(count: int) -> list[tuple[str, list[str]]]:
    columns = {"index": "{}", "sentence1": "one {}", "sentence2": "two {}"}
    return [(name, [text.format(n) for n in range(count)]) for name, text in columns.items()]


@pytest.mark.slow
@pytest.mark.parametrize("name", SUBMITTED)
def test_a_submission_is_a_file_for_each_test_set(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    data, tests, folder = (tmp_path / part for part in ("data", "tests", "submission"))
    label, values = LABELS[name]
    for file in FILES[name]:
        place = data / Path(TESTS[name][0]).parent / f"{file}.tsv"
        table(place, *pairs(9), (label, [values[n % 3] for n in range(9)]))
    for file in TESTS[name]:
        table(tests / f"{file}.tsv", *pairs(12))
    request = ask_for(f"task={name}", f"task.path={data}", *QUICK, f"outputs={tmp_path}")
    record = train.train(request)
    given = (record.folder, "--submission", folder, "--device", "cpu")
    with pytest.raises(DataError, match=r"test(_matched)?\.tsv: is not there; .* --data FOLDER"):
        verb(monkeypatch, *given)
    verb(monkeypatch, *given, "--data", tests)
    files = [folder / file for file in SUBMITTED[name]]
    assert capsys.readouterr().out.split() == [str(file) for file in files]
    rows = [dict(zip(INPUTS[name], (f"one {n}", f"two {n}"), strict=True)) for n in range(12)]
    told = [one["prediction"] for one in sparsead.load(record.folder).predict(rows)]
    shown = told if name == "mnli" else [f"{min(max(number, 0), 5):.3f}" for number in told]
    lines = [f"{n}\t{prediction}" for n, prediction in enumerate(shown)]
    assert [file.read_text().split("\n") for file in files] == [
        ["index\tprediction", *lines, ""] for _ in files
    ]
    with pytest.raises(ConfigError, match="exists already"):
        verb(monkeypatch, *given, "--data", tests)
    shutil.rmtree(data)
    with pytest.raises(ConfigError, match="give the folder with --data"):
        verb(monkeypatch, record.folder, "--submission", tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_flags_that_do_not_go_together_and_tasks_without_a_server_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = train.train(ask_for("task=demo_cola", *QUICK, f"outputs={tmp_path}"))
    new = tmp_path / "new"
    for arguments, words in (
        (
            ("--submission", new),
            "--submission: task=demo_cola has no submission format; only GLUE's tasks have",
        ),
        (("--submission", new, "--output", new), "works only with --input"),
        (("--input", new, "--data", tmp_path), "works only with --submission"),
        (("--submission", new, "--data", new), "new: is not a folder"),
    ):
        with pytest.raises(ConfigError, match=words):
            verb(monkeypatch, record.folder, *arguments)
    assert not new.exists()

"""The user's own files: the rows that are read, and how malformed files are refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict
from hypothesis import given
from hypothesis import strategies as st

from composing import compose
from sparsead.backbones.loading import load_backbone
from sparsead.errors import ConfigError, DataError, SparseadError
from sparsead.tasks.cache import encode_once
from sparsead.tasks.contract import TASKS
from sparsead.tasks.files import read_file
from sparsead.tasks.splits import split_rows
from sparsead.tasks.text import TextTask

BROKEN = Path(__file__).resolve().parents[1] / "data" / "broken"
PLAIN = st.text(st.characters(exclude_characters="\r\x00", exclude_categories=["Cs"]), max_size=30)
TABLE = st.lists(st.tuples(PLAIN, PLAIN), min_size=1, max_size=8)


def text(*overrides: str) -> TextTask:
    spec = compose("task=text", *overrides).task
    made = TASKS.bind(spec.method, spec.arguments())()
    assert isinstance(made, TextTask)
    return made


def broken(name: str, *overrides: str) -> DatasetDict:
    file = BROKEN / name
    return text(
        f"task.train={file}", f"task.validation={file}", "task.inputs=[text]", *overrides
    ).load()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty.csv", ": has no examples"),
        ("header_only.csv", ": has no examples"),
        ("short_row.csv", ":3: number of fields: 1, of the header: 2"),
        ("long_row.csv", ":3: number of fields: 3, of the header: 2"),
        ("after_two_lines.csv", ":4: number of fields: 1, of the header: 2"),
        ("open_quote.csv", ":3: unexpected end of data"),
        ("text_after_quote.csv", ":2: ',' expected after '\"'"),
        ("same_column.csv", ":1: the column 'text' is there twice"),
        ("other_column.csv", ":1: column=text: no such choice; did you mean txt?"),
        ("latin1.csv", ":3: byte 4 is not UTF-8"),
        ("utf16.csv", ":1: byte 1 is not UTF-8"),
        ("no_label.csv", ":3: label: has no label"),
        ("empty.jsonl", ": has no examples"),
        ("cut_off.jsonl", ":2: character 10: Unterminated string"),
        ("no_object.jsonl", ":2: ['odd', 'no'] is not a JSON object"),
        ("missing_key.jsonl", ":2: column=label: no such choice"),
        ("null_text.jsonl", ":2: text: None is not a text"),
        ("number_text.jsonl", ":2: text: 3 is not a text"),
        ("null_label.jsonl", ":2: label: has no label"),
        ("deep.jsonl", ":1: "),
        ("half_character.jsonl", ":2: text: 'a \\ud800' is not a text"),
        ("list_label.jsonl", ":2: label: ['yes'] is not a class"),
        ("one_class.csv", ": label: is yes in every row"),
        ("not_parquet.parquet", ": is not a readable Parquet file"),
        ("short_row.tsv", ":3: has 1 tab-separated fields, not 2 (text, label)"),
        ("long_row.tsv", ":3: has 3 tab-separated fields, not 2 (text, label)"),
        ("latin1.tsv", ":2: byte 4 is not UTF-8"),
        ("table.xlsx", ": suffix=.xlsx: no such choice"),
    ],
)
def test_a_broken_file_is_refused_with_its_place(name: str, message: str) -> None:
    with pytest.raises(DataError) as error:
        broken(name)
    assert str(error.value).startswith(f"{BROKEN / name}{message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        (
            "unknown_label.csv",
            ["task.labels=[no,yes]"],
            ":3: label: 'perhaps' is not one of no, yes",
        ),
        ("same_id.csv", ["task.id=id"], ":4: id: '7' is also the id of line 2"),
        ("not_a_number.csv", ["task.regression=true"], ":3: label: '1.5.0' is not a finite number"),
        ("infinite.csv", ["task.regression=true"], ":3: label: 'inf' is not a finite number"),
        (
            "huge_number.csv",
            ["task.regression=true"],
            ":3: label: '4e38' is not a finite number",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(
    name: str, overrides: list[str], message: str
) -> None:
    with pytest.raises(DataError) as error:
        broken(name, *overrides)
    assert str(error.value) == f"{BROKEN / name}{message}"


def test_every_broken_file_is_tried() -> None:
    tried = Path(__file__).read_text("utf-8")
    assert [file.name for file in BROKEN.iterdir() if f'"{file.name}"' not in tried] == []


@given(content=st.binary(max_size=200), suffix=st.sampled_from([".csv", ".tsv", ".jsonl"]))
def test_any_bytes_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("any") / f"any{suffix}"
    path.write_bytes(content)
    try:
        rows = read_file(path, ["label"]).values
    except SparseadError as error:
        rows, said = [], str(error)
    else:
        said = str(path)
    assert said.startswith(str(path))
    assert all(list(row) == ["label"] for row in rows)


@given(TABLE, st.sampled_from(["csv", "jsonl", "parquet"]))
def test_what_was_written_comes_back(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str]], kind: str
) -> None:
    path = tmp_path_factory.mktemp("any") / f"any.{kind}"
    rows = [{"text": first, "other": second} for first, second in table]
    if kind == "csv":
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, ["text", "other"], quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    else:
        Dataset.from_list(rows).to_parquet(path)
    assert list(read_file(path, ["other", "text"]).values) == rows


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_key_inside_a_column_is_named_as_on_the_hub(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"pairs.{kind}"
    rows = [{"translation": {"en": f"one {n}", "de": f"eins {n}"}, "id": n} for n in range(3)]
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    else:
        Dataset.from_list(rows).to_parquet(path)
    read = read_file(path, ["translation.de", "id"])
    assert list(read.values) == [{"translation.de": f"eins {n}", "id": n} for n in range(3)]
    with pytest.raises(DataError, match=r"did you mean translation\.de"):
        read_file(path, ["translation.da"])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "mine.csv"
    lines = [f"question {i},answer {i},{i % 3 + 9}" for i in range(30)]
    path.write_text("\n".join(["q,a,grade", *lines]) + "\n", "utf-8")
    return path


def test_pairs_with_the_classes_of_the_file(table: Path) -> None:
    mine = text(
        f"task.train={table}",
        "task.inputs=[q,a]",
        "task.label=grade",
        "task.validation_share=0.2",
    )
    splits = mine.load()
    assert mine.head_options["id2label"] == {0: "9", 1: "10", 2: "11"}
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 24, "validation": 6}
    assert splits["validation"][:] == mine.load()["validation"][:]
    row = splits["train"][0]
    assert row["text_pair"].split()[1] == row["text"].split()[1]
    assert row["label"] == int(row["text_pair"].split()[1]) % 3


def test_numbers_are_a_switch(table: Path) -> None:
    mine = text(
        f"task.train={table}",
        f"task.validation={table}",
        "task.inputs=[q]",
        "task.label=grade",
        "task.regression=true",
    )
    assert mine.load()["train"]["label"][:3] == [9.0, 10.0, 11.0]
    assert mine.head_options["num_labels"] == 1


@pytest.mark.slow
def test_a_line_of_a_million_characters_is_cut_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("text,label\nshort,yes\n" + "word " * 200_000 + ",no\n", "utf-8")
    short = tmp_path / "short.csv"
    short.write_text("text,label\nshort,yes\n", "utf-8")
    mine = text(f"task.train={path}", f"task.validation={short}", "task.inputs=[text]")
    tokenizer = load_backbone(compose("backbone=tiny-bert").backbone).tokenizer
    encoded = mine.encode(mine.load(), tokenizer)["train"]
    assert encoded["whole_length"][:] == [7, 800_002]
    assert [len(ids) for ids in encoded["input_ids"]] == [7, 512]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "task.validation: name a file, or hold out"),
        (["task.validation_share=1"], "task.validation_share=1: must be above 0 and below 1"),
        (["task.validation_share=0.1", "task.inputs=[]"], "task.inputs: name one or two columns"),
        (["task.validation_share=0.1", "task.inputs=[a,q,b]"], "task.inputs: name one or two"),
        (
            ["task.validation_share=0.1", "task.regression=true", "task.labels=[a,b]"],
            "task.labels: task.regression=true",
        ),
        (
            ["task.validation_share=0.1", "task.labels=[a]"],
            "task.labels=['a']: name at least two classes",
        ),
    ],
)
def test_an_incomplete_command_is_refused(table: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        text(f"task.train={table}", "task.inputs=[q]", *overrides).load()
    assert str(error.value).startswith(message)


def test_f1_of_three_classes_is_refused_before_anything_is_tokenised(table: Path) -> None:
    mine = text(
        f"task.train={table}",
        f"task.validation={table}",
        "task.inputs=[q]",
        "task.label=grade",
        "task.metrics=[f1]",
    )
    with pytest.raises(ConfigError, match="did you mean f1_macro"):
        mine.load()


@pytest.mark.slow
@given(st.lists(st.integers(0, 3), min_size=2, max_size=60), st.floats(0.05, 0.9))
def test_what_is_held_out_has_every_class_in_its_share(labels: list[int], share: float) -> None:
    names = sorted({str(label) for label in labels})
    rows = Dataset.from_dict(
        {"id": range(len(labels)), "label": [names.index(str(label)) for label in labels]}
    ).cast_column("label", ClassLabel(names=names))
    stays, held_out = split_rows(rows, share)
    assert sorted([*stays["id"], *held_out["id"]]) == rows["id"][:]
    assert len(held_out) == min(max(round(share * len(labels)), 1), len(labels) - 1)
    realised = len(held_out) / len(labels)
    for number in range(len(names)):
        expected = realised * rows["label"][:].count(number)
        assert abs(held_out["label"][:].count(number) - expected) <= 1
    assert held_out[:] == split_rows(rows, share)[1][:]


def test_a_text_without_tokens_is_refused_where_the_tokenizer_adds_none(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('text,label\nabc,0\n"",1\n', "utf-8")
    task = text(f"task.train={file}", f"task.validation={file}", "task.inputs=[text]")
    rows = task.load()
    task.encode(rows, load_backbone(compose("backbone=tiny-bert").backbone).tokenizer)
    with pytest.raises(DataError, match="train: example 2: is empty"):
        task.encode(rows, load_backbone(compose("backbone=tiny-gpt2").backbone).tokenizer)


def test_blank_texts_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEAD_CACHE", str(tmp_path / "cache"))
    lines = "text,text_b,label\nabc,d,0\n \u200f,d,1\nabc,,1\n"
    (tmp_path / "blank.csv").write_text(lines, "utf-8")
    (tmp_path / "full.csv").write_text("text,text_b,label\nabc,d,0\n", "utf-8")
    files = (f"task.train={tmp_path}/blank.csv", f"task.validation={tmp_path}/full.csv")
    task = text(*files, "task.inputs=[text,text_b]")
    tokenizer = load_backbone(compose("backbone=tiny-bert").backbone).tokenizer
    _, described = encode_once(task, tokenizer)
    assert described["train"]["counts"] == {"empty_text": 2, "cut": 0}
    assert described["validation"]["counts"] == {"cut": 0}


@pytest.mark.parametrize(("first", "second"), [("1", "1.0"), ("0.0", "-0.0"), ('"1"', "1.0")])
def test_two_spellings_of_a_number_are_one_id(tmp_path: Path, first: str, second: str) -> None:
    file = tmp_path / "a.jsonl"
    ids = (first, "2", second)
    lines = [f'{{"text": "a", "label": {n % 2}, "id": {each}}}\n' for n, each in enumerate(ids)]
    file.write_text("".join(lines), "utf-8")
    task = text(
        f"task.train={file}", "task.validation_share=0.5", "task.inputs=[text]", "task.id=id"
    )
    with pytest.raises(DataError, match=r"a\.jsonl:3: id: .* is also the id of line 1"):
        task.load()

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict
from sklearn.metrics import accuracy_score, f1_score
from transformers import EvalPrediction

from composing import compose
from sparsead.backbones.loading import load_backbone
from sparsead.errors import ConfigError, DataError
from sparsead.tasks import glue
from sparsead.tasks.contract import TASKS
from sparsead.tasks.glue import GlueTask
from sparsead.tasks.sentences import SentenceTask
from sparsead.tasks.tsv import read_tsv


def task(*overrides: str) -> SentenceTask:
    spec = compose(*overrides).task
    made = TASKS.bind(spec.method, spec.arguments())()
    assert isinstance(made, SentenceTask)
    return made


OFFICIAL = {
    "cola": ({0: 2528, 1: 6023}, {0: 322, 1: 721}),
    "sst2": ({0: 29780, 1: 37569}, {0: 428, 1: 444}),
    "mrpc": ({0: 1194, 1: 2474}, {0: 129, 1: 279}),
    "rte": ({0: 1249, 1: 1241}, {0: 146, 1: 131}),
    "wnli": ({0: 323, 1: 312}, {0: 40, 1: 31}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OFFICIAL)
def test_the_real_files_have_the_official_counts(data_root: Path, name: str) -> None:
    splits = task(f"task={name}", f"task.path={data_root / 'glue'}").load()
    for split, expected in zip(("train", "validation"), OFFICIAL[name], strict=True):
        assert Counter(splits[split]["label"][:]) == expected


def test_the_real_similarities_are_numbers_from_0_to_5(data_root: Path) -> None:
    splits = task("task=stsb", f"task.path={data_root / 'glue'}").load()
    assert {split: len(rows) for split, rows in splits.items()} == {
        "train": 5749,
        "validation": 1500,
    }
    for rows in splits.values():
        assert (min(rows["label"]), max(rows["label"])) == (0, 5)
    assert splits["train"][0]["sentence1"] == "A plane is taking off."


def test_the_real_questions_have_the_official_counts(data_root: Path) -> None:
    spec = compose("task=qnli").task
    columns = spec.options["tsv_columns"]
    rows = read_tsv(data_root / "glue" / "QNLI" / "dev.tsv", columns)
    rows.check_unique("idx")
    classes = {"entailment": 0, "not_entailment": 1}
    assert Counter(rows.classes("label", classes)) == {0: 2702, 1: 2761}


def write(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return f"task.path={folder}"


def test_mnli_has_two_validation_sets_whose_columns_differ(tmp_path: Path) -> None:
    head = "index\tgenre\tsentence1\tsentence2\tlabel1\t"
    files = {
        "MNLI/train.tsv": f"{head}gold_label\n0\tx\tp\th\tneutral\tneutral\n",
        "MNLI/dev_matched.tsv": f"{head}label2\tgold_label\n"
        "0\tx\tp\th\tneutral\tneutral\tentailment\n",
        "MNLI/dev_mismatched.tsv": f"{head}gold_label\n0\ty\tp\th\tneutral\tcontradiction\n",
        "MNLI/test_mismatched.tsv": "index\tsentence1\tsentence2\n0\tp\th\n",
        "MNLI/test_matched.tsv": "index\tsentence1\tsentence2\n0\tp\th\n",
    }
    mnli = task("task=mnli", write(tmp_path, files))
    assert isinstance(mnli, GlueTask)
    labels = {split: rows["label"][:] for split, rows in mnli.load().items()}
    assert labels == {"train": [1], "validation": [0], "mismatched": [2]}
    assert list(mnli.load_tests(tmp_path)) == ["MNLI-m", "MNLI-mm"]
    write(tmp_path, {"diagnostic/diagnostic.tsv": "index\tsentence1\tsentence2\n0\tp\th\n"})
    tests = mnli.load_tests(tmp_path)
    assert list(tests) == ["MNLI-m", "MNLI-mm", "AX"]
    assert all(rows[:] == {"premise": ["p"], "hypothesis": ["h"]} for rows in tests.values())


def test_short_lines_of_qqp_are_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t1\t2\ta\tb\t1\n2\t3\t4\ta\n"
    splits = task("task=qqp", write(tmp_path, {"QQP/train.tsv": text, "QQP/dev.tsv": text})).load()
    assert splits["train"]["label"][:] == [1]
    assert "train.tsv: left out 1 lines with too few fields, the first is line 3" in caplog.text


@pytest.mark.parametrize(
    ("name", "logits", "expected"),
    [
        ("mrpc", [[0, 1], [1, 0]], ["1", "0"]),
        ("mnli", [[0, 0, 1], [0, 1, 0]], ["contradiction", "neutral"]),
        ("wnli", [[0, 1], [1, 0]], ["1", "0"]),
        ("qnli", [[0, 1], [1, 0]], ["not_entailment", "entailment"]),
        ("stsb", [[2.71828], [5.3]], ["2.718", "5.000"]),
    ],
)
def test_a_submission_is_in_glues_format(
    name: str, logits: list[list[float]], expected: list[str]
) -> None:
    glue = task(f"task={name}")
    assert isinstance(glue, GlueTask)
    decoded = glue.decoded(EvalPrediction(np.array(logits), np.array(())), Dataset.from_dict({}))
    lines = glue.submission(decoded).split("\n")
    assert lines == ["index\tprediction", f"0\t{expected[0]}", f"1\t{expected[1]}", ""]


def test_the_first_real_pair_is_read_as_it_stands(data_root: Path) -> None:
    row = task("task=mrpc", f"task.path={data_root / 'glue'}").load()["train"][0]
    assert row["sentence1"].startswith(
        'Amrozi accused his brother , whom he called " the witness "'
    )
    assert row["sentence2"].startswith('Referring to him as only " the witness "')
    assert row["label"] == 1


def test_limit_takes_the_first_examples_of_each_split(glue_fixture: Path) -> None:
    whole = task("task=rte", f"task.path={glue_fixture}").load()
    few = task("task=rte", f"task.path={glue_fixture}", "task.limit=40").load()
    assert {split: len(rows) for split, rows in few.items()} == {"train": 40, "validation": 32}
    assert few["train"][:] == whole["train"][:40]


def test_an_example_is_cut_at_the_longest_length(glue_fixture: Path) -> None:
    cutting = task("task=mrpc", f"task.path={glue_fixture}", "task.max_length=60")
    tokenizer = load_backbone(compose("backbone=tiny-bert").backbone).tokenizer
    splits = cutting.load()
    encoded = cutting.encode(splits, tokenizer)["train"]
    lengths = [
        len(tokenizer(row["sentence1"], row["sentence2"])["input_ids"]) for row in splits["train"]
    ]
    assert encoded["whole_length"][:] == lengths
    assert max(lengths) > 60 == max(map(len, encoded["input_ids"]))


def test_a_label_outside_the_set_names_file_and_line(tmp_path: Path, glue_fixture: Path) -> None:
    (tmp_path / "RTE").mkdir()
    for split in ("train", "dev"):
        text = (glue_fixture / "RTE" / f"{split}.tsv").read_text("utf-8")
        (tmp_path / "RTE" / f"{split}.tsv").write_text(
            text.replace("not_entailment", "no", 1), "utf-8"
        )
    with pytest.raises(DataError, match=r"train\.tsv:\d+: label: 'no' is not one of entailment"):
        task("task=rte", f"task.path={tmp_path}").load()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1\tx\ty\t3.5x", r"train\.tsv:3: score: '3\.5x' is not a finite number"),
        ("0\tx\ty\t3.5", r"train\.tsv:3: index: '0' is also the id of line 2"),
        ("1\tx\ty\tnan", r"train\.tsv:3: score: 'nan' is not a finite number"),
    ],
)
def test_a_wrong_number_names_file_line_and_column(tmp_path: Path, line: str, message: str) -> None:
    text = f"index\tsentence1\tsentence2\tscore\n0\ta\tb\t5.000\n{line}\n"
    path = write(tmp_path, {"STS-B/train.tsv": text, "STS-B/dev.tsv": text})
    with pytest.raises(DataError, match=message):
        task("task=stsb", path).load()


def test_scores_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    logits, labels = draw.normal(size=(200, 2)), draw.integers(0, 2, 200)
    scores = task("task=mrpc").scores(EvalPrediction(predictions=logits, label_ids=labels))
    assert list(scores) == ["accuracy", "f1"]
    assert scores["accuracy"] == accuracy_score(labels, logits.argmax(1))
    assert scores["f1"] == f1_score(labels, logits.argmax(1))


def test_the_hubs_test_set_without_labels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"sentence1": ["a"], "sentence2": ["b"], "idx": [0]}
    splits = {"train": 1, "validation": 0, "test": -1}
    hub = DatasetDict({s: Dataset.from_dict({**rows, "label": [n]}) for s, n in splits.items()})
    monkeypatch.setattr(glue, "load_splits", lambda *_: hub)
    with pytest.raises(DataError, match=r"task\.hub_splits\.test=test: \S+ has no labels"):
        task("task=mrpc", "+task.hub_splits.test=test").load()


def hub_rows(names: list[str]) -> DatasetDict:
    rows = {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [0, 1], "idx": [0, 1]}
    split = Dataset.from_dict(rows).cast_column("label", ClassLabel(names=names))
    return DatasetDict(train=split, validation=split)


def test_the_hubs_classes_are_taken_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glue, "load_splits", lambda *_: hub_rows(["equivalent", "not_equivalent"]))
    rows = task("task=mrpc", "task.hub=mine/mrpc").load()["validation"]
    assert rows.features["label"].names == ["not_equivalent", "equivalent"]
    assert list(rows["label"]) == [1, 0]


@pytest.mark.parametrize("name", ["mrpc", "stsb"])
def test_other_classes_on_the_hub_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glue, "load_splits", lambda *_: hub_rows(["no", "yes"]))
    with pytest.raises(DataError, match=r"task.hub=mine/rows: its classes are no, yes, and those"):
        task(f"task={name}", "task.hub=mine/rows").load()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"label": ["yes", "no"]},
            r":1: label: 'yes' is not the number of a class, 0 to 1; task=t",
        ),
        ({"label": [0, 2]}, r":2: label: 2 is not the number of a class"),
        ({"label": [1, None]}, r":2: label: None is not the number of a class"),
        ({"label": [1, -1]}, r":2: label: -1 is not the number of a class"),
        ({"sentence2": ["c", None]}, r":2: sentence2: None is not a text"),
        ({"label": None}, r": column=label: no such choice"),
    ],
)
def test_values_on_the_hub_that_are_no_texts_or_labels_are_named(
    changed: dict[str, list[object] | None], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [0, 1]} | changed
    split = Dataset.from_dict({name: given for name, given in columns.items() if given})
    monkeypatch.setattr(glue, "load_splits", lambda *_: DatasetDict(train=split, validation=split))
    with pytest.raises(DataError, match=rf"^mine/rows\S*: train{said}"):
        task("task=mrpc", "task.hub=mine/rows").load()


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean accuracy"):
        task("task=mrpc", "task.metrics=[acuracy]").scores(
            EvalPrediction(predictions=np.zeros((2, 2)), label_ids=np.zeros(2))
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mrpc", "rte"])
def test_the_demo_has_the_schema_of_the_real_task(glue_fixture: Path, name: str) -> None:
    demo = task(f"task=demo_{name}").load()
    real = task(f"task={name}", f"task.path={glue_fixture}").load()
    assert set(real["train"].column_names) <= set(demo["train"].column_names)
    assert demo["train"].features["label"] == real["train"].features["label"]

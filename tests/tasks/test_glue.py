from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score
from transformers import EvalPrediction

from composing import compose
from sparsead.backbones.loading import load_backbone
from sparsead.errors import ConfigError, DataError
from sparsead.registry import TASKS
from sparsead.tasks.glue import GlueTask


def task(*overrides: str) -> GlueTask:
    spec = compose(*overrides).task
    made = TASKS.bind(spec.method, spec.arguments())()
    assert isinstance(made, GlueTask)
    return made


@pytest.mark.parametrize(
    ("name", "train", "validation"),
    [
        (
            "mrpc",
            {"equivalent": 2474, "not_equivalent": 1194},
            {"equivalent": 279, "not_equivalent": 129},
        ),
        (
            "rte",
            {"entailment": 1249, "not_entailment": 1241},
            {"entailment": 146, "not_entailment": 131},
        ),
    ],
)
def test_the_real_files_have_the_official_counts(
    data_root: Path, name: str, train: dict[str, int], validation: dict[str, int]
) -> None:
    splits = task(f"task={name}", f"task.path={data_root / 'glue'}").load()
    for split, expected in (("train", train), ("validation", validation)):
        classes = splits[split].features["label"]
        counts = Counter(classes.int2str(label) for label in splits[split]["label"])
        assert counts == expected


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


def test_a_cut_example_is_counted_and_said(
    glue_fixture: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cutting = task("task=mrpc", f"task.path={glue_fixture}", "task.max_length=60")
    tokenizer = load_backbone(compose("backbone=tiny-bert").backbone).tokenizer
    splits = cutting.load()
    with caplog.at_level("INFO"):
        encoded = cutting.encode(splits, tokenizer)
    lengths = [
        len(tokenizer(row["sentence1"], row["sentence2"])["input_ids"]) for row in splits["train"]
    ]
    cut = sum(length > 60 for length in lengths)
    assert 0 < cut < len(lengths)
    assert f"train: 96 examples, {cut} cut at 60 tokens" in caplog.text
    assert max(map(len, encoded["train"]["input_ids"])) == 60


def test_a_label_outside_the_set_names_file_and_line(tmp_path: Path, glue_fixture: Path) -> None:
    (tmp_path / "RTE").mkdir()
    for split in ("train", "dev"):
        text = (glue_fixture / "RTE" / f"{split}.tsv").read_text("utf-8")
        (tmp_path / "RTE" / f"{split}.tsv").write_text(
            text.replace("not_entailment", "no", 1), "utf-8"
        )
    with pytest.raises(DataError, match=r"train\.tsv:\d+: label 'no' is none of entailment"):
        task("task=rte", f"task.path={tmp_path}").load()


def test_scores_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    logits, labels = draw.normal(size=(200, 2)), draw.integers(0, 2, 200)
    scores = task("task=mrpc").scores(EvalPrediction(predictions=logits, label_ids=labels))
    assert list(scores) == ["accuracy", "f1"]
    assert scores["accuracy"] == accuracy_score(labels, logits.argmax(1))
    assert scores["f1"] == f1_score(labels, logits.argmax(1))


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean accuracy"):
        task("task=mrpc", "task.metrics=[acuracy]").scores(
            EvalPrediction(predictions=np.zeros((2, 2)), label_ids=np.zeros(2))
        )


def test_the_demo_has_the_schema_of_mrpc(glue_fixture: Path) -> None:
    demo = task("task=demo_mrpc").load()
    real = task("task=mrpc", f"task.path={glue_fixture}").load()
    assert set(real["train"].column_names) <= set(demo["train"].column_names)
    assert demo["train"].features["label"] == real["train"].features["label"]

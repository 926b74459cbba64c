"""Data sets in the columns that the hub has them in, without the hub."""

from __future__ import annotations

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Translation, Value
from huggingface_hub import constants

from composing import compose
from sparsead.config.choices import list_choices
from sparsead.errors import DataError, SourceError
from sparsead.hub.sources import Source, data_source, model_source
from sparsead.runs.sources import list_sources
from sparsead.tasks import hub_rows
from sparsead.tasks.contract import TASKS, Task, WritesSubmission


def task(*overrides: str) -> Task:
    spec = compose(*overrides).task
    return TASKS.bind(spec.method, spec.arguments())()


def entailment(label: int, names: list[str]) -> Dataset:
    features = {"premise": Value("string"), "hypothesis": Value("string"), "idx": Value("int32")}
    columns = {"premise": ["p"], "hypothesis": ["h"], "label": [label], "idx": [0]}
    return Dataset.from_dict(columns, Features(features | {"label": ClassLabel(names=names)}))


def test_mnli_and_its_three_test_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["entailment", "neutral", "contradiction"]
    splits = {"train": 1, "validation_matched": 0, "validation_mismatched": 2}
    tests = {"test_matched": -1, "test_mismatched": -1}
    sets = {"mnli": splits | tests, "ax": {"test": -1}}

    def load(source: Source) -> DatasetDict:
        assert source.name == "nyu-mll/glue"
        found = sets[str(source.config)].items()
        return DatasetDict({s: entailment(label, names) for s, label in found})

    monkeypatch.setattr(hub_rows, "load_rows", load)
    mnli = task("task=mnli")
    labels = {split: rows["label"][:] for split, rows in mnli.load().items()}
    assert labels == {"train": [1], "validation": [0], "mismatched": [2]}
    assert isinstance(mnli, WritesSubmission)
    unlabelled = mnli.load_tests(None)
    assert list(unlabelled) == ["MNLI-m", "MNLI-mm", "AX"]
    assert all(rows[:] == {"premise": ["p"], "hypothesis": ["h"]} for rows in unlabelled.values())


@pytest.mark.parametrize(
    ("overrides", "embedded"),
    [
        (["task=cola"], "demo_cola"),
        (["task=sst2"], "demo_mrpc"),
        (["task=squad"], "demo_squad"),
        (["task=boolq"], "demo_rte"),
        (["task=wic"], "demo_rte"),
        (["task=copa"], "demo_rte"),
        (["task=gsm8k"], "demo_sums"),
        (["task=complete", "task.hub=owner/set", "backbone=tiny-qwen"], "demo_sums"),
        (["task=xsum"], "demo_xsum"),
        (["task=translate", "task.hub=wmt/wmt16"], "demo_xsum"),
    ],
)
def test_offline_the_generated_task_of_the_same_kind_is_named(
    overrides: list[str], embedded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match=f"or take the embedded task={embedded}, which needs"):
        task(*overrides).load()


OF_THE_HUB = [choice for choice in list_choices("task") if not choice.startswith("demo_")]


@pytest.mark.slow
@pytest.mark.parametrize("choice", OF_THE_HUB)
def test_a_task_reads_the_source_that_its_run_is_checked_with(
    choice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub is asked for its commit, and named in messages, before the task is even made."""
    columns = ["task.inputs=[a]"] if choice == "text" else []
    spec = compose(f"task={choice}", *columns, "task.hub=owner/set", f"task.revision={40 * '0'}")
    read: list[Source] = []

    def load(source: Source) -> DatasetDict:
        read.append(source)
        raise SourceError(str(source))

    monkeypatch.setattr(hub_rows, "load_rows", load)
    with pytest.raises(SourceError):
        TASKS.bind(spec.task.method, spec.task.arguments())().load()
    (checked,) = [source for source in list_sources(spec) if source.group == "task"]
    assert read == [checked]
    assert read[0].embedded == checked.embedded


def test_the_advice_for_where_the_hub_fails_makes_no_other_source() -> None:
    one = data_source("rte", "glue", "owner/set", None, None)
    other = data_source("x", "complete", "owner/set", None, None)
    assert one.embedded != other.embedded
    assert one == other
    assert hash(one) == hash(other)
    assert one != data_source("rte", "glue", "owner/set", "config", None)
    assert model_source("owner/model", None, "pip install it") == model_source("owner/model", None)


def test_squad_is_read_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {
        "id": "56be4db0acb8001400a502ec",
        "title": "Rome",
        "context": "In Rome.",
        "question": "Where?",
        "answers": {"text": ["Rome"], "answer_start": [3]},
    }
    rows = Dataset.from_list([row])
    monkeypatch.setattr(
        hub_rows, "load_rows", lambda _: DatasetDict(train=rows, validation=rows, other=rows)
    )
    splits = task("task=squad").load()
    assert list(splits) == ["train", "validation"]
    assert splits["train"].to_list() == [row]


def test_a_translation_is_a_column_of_two_languages(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [{"ro": "casă", "en": "house"}, {"ro": "unu", "en": "one"}]
    features = Features({"translation": Translation(languages=["ro", "en"])})
    rows = Dataset.from_dict({"translation": pairs}, features)
    given: list[Source] = []

    def load(source: Source) -> DatasetDict:
        given.append(source)
        return DatasetDict(train=rows, validation=rows, test=rows)

    monkeypatch.setattr(hub_rows, "load_rows", load)
    romanian = ("task=translate", "task.hub=wmt/wmt16", "task.hub_config=ro-en")
    columns = ("task.columns.source=translation.ro", "task.columns.target=translation.en")
    splits = task(*romanian, *columns).load()
    assert [(str(source), source.revision) for source in given] == [("wmt/wmt16/ro-en", "main")]
    assert list(splits) == ["train", "validation"]
    assert splits["train"].to_list() == [
        {"source": "casă", "target": "house", "id": "0"},
        {"source": "unu", "target": "one", "id": "1"},
    ]
    with pytest.raises(
        DataError, match=r"wmt/wmt16/ro-en: train: .*no such choice.* \(allowed: tr.*\.en"
    ):
        task(*romanian, columns[0], "task.columns.target=translation.fr").load()

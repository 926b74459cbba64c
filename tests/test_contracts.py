"""The types of tasks, adapters and pruners: who has them, and what a user's own class needs."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import sparsead as package
from composing import ask_for, compose
from conftest import Cli
from sparsead.adapters.bitfit import BitFit
from sparsead.adapters.bottleneck import BottleneckAdapter
from sparsead.adapters.chosen import ChosenWeights
from sparsead.adapters.contract import ADAPTERS, Adapter, Mergeable
from sparsead.adapters.dora import DoRA, DoRAAdapter
from sparsead.adapters.full import FullFineTuning
from sparsead.adapters.fusion import FusionAdapter
from sparsead.adapters.head import HeadOnly
from sparsead.adapters.ia3 import IA3, IA3Adapter
from sparsead.adapters.lora import LoRA, LoRAAdapter
from sparsead.adapters.mam import MAMAdapter
from sparsead.adapters.parallel import ParallelAdapter
from sparsead.adapters.peft import PeftTuner
from sparsead.adapters.pfeiffer import PfeifferAdapter
from sparsead.adapters.prefix import PrefixAdapter
from sparsead.adapters.sparse import SparseAdapter
from sparsead.assembly.build import build_task
from sparsead.errors import ConfigError
from sparsead.pruning.contract import PRUNERS, Pruner
from sparsead.pruning.er import er
from sparsead.pruning.erk import erk
from sparsead.pruning.fisher import fisher
from sparsead.pruning.force import force
from sparsead.pruning.gradient import gradient
from sparsead.pruning.grasp import grasp
from sparsead.pruning.magnitude import magnitude
from sparsead.pruning.nm import nm
from sparsead.pruning.none import none
from sparsead.pruning.random import random
from sparsead.pruning.snip import snip
from sparsead.pruning.synflow import synflow
from sparsead.pruning.taso import taso
from sparsead.pruning.taylor import taylor
from sparsead.pruning.units import units
from sparsead.report.choice import choose_best_points
from sparsead.runs.record import RunRecord
from sparsead.tasks.complete import Completion
from sparsead.tasks.contract import (
    TASKS,
    GeneratesText,
    PredictsRecords,
    ScoresOutputs,
    StatesDirection,
    Task,
)
from sparsead.tasks.demo import (
    DemoCola,
    DemoPairs,
    DemoQuestions,
    DemoRte,
    DemoStsb,
    DemoSummaries,
    DemoSums,
)
from sparsead.tasks.glue import GlueTask
from sparsead.tasks.squad import SquadTask
from sparsead.tasks.superglue import SuperGlueTask, WicTask, WscTask
from sparsead.tasks.superglue_questions import CopaTask, MultiRcTask, RecordTask
from sparsead.tasks.text import TextTask
from sparsead.tasks.text_to_text import TextToText
from sparsead.train import train
from sparsead.training.prediction import find_directions

# What mypy checks, because the registries take any function or class.
EVERY_TASK: list[Callable[..., Task]] = [
    *(GlueTask, TextTask, SquadTask, TextToText, Completion),
    *(DemoCola, DemoPairs, DemoQuestions, DemoRte, DemoStsb, DemoSummaries, DemoSums),
    *(SuperGlueTask, WicTask, WscTask, CopaTask, MultiRcTask, RecordTask),
]
EVERY_ADAPTER: list[Callable[..., Adapter]] = [
    *(BitFit, BottleneckAdapter, DoRAAdapter, FullFineTuning, FusionAdapter, HeadOnly),
    *(LoRAAdapter, MAMAdapter, ParallelAdapter, PeftTuner, PfeifferAdapter, PrefixAdapter),
    *(IA3Adapter, SparseAdapter),
]
EVERY_PRUNER: list[Pruner] = [
    *(er, erk, fisher, force, gradient, grasp, magnitude, nm, none, random, snip, synflow),
    *(taso, taylor, units),
]
MERGEABLE: list[type[Mergeable]] = [ChosenWeights, DoRA, IA3, LoRA]

WAYS_TO_BE_SCORED = (ScoresOutputs, PredictsRecords, GeneratesText)
CHOICES = Path(package.__file__).parents[1] / "conf" / "task"
SOURCES = sorted(Path(package.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize(
    "forbidden",
    [
        r"\b(task|adapter|pruner)s?: (Any|object)\b",
        r"\bpruner: .*Callable\[\.\.\., Any\]",
        r"\bhasattr\(",
        r"\bgetattr\((\w+\.)*(task|adapter|pruner)\b",
    ],
)
def test_nothing_stands_in_the_place_of_the_types(forbidden: str) -> None:
    found = [
        f"{path.name}:{number}: {line.strip()}"
        for path in SOURCES
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if re.search(forbidden, line)
    ]
    assert SOURCES
    assert found == []


def test_every_method_that_is_registered_is_in_the_lists_above() -> None:
    for registry, listed in (
        (TASKS, EVERY_TASK),
        (ADAPTERS, EVERY_ADAPTER),
        (PRUNERS, EVERY_PRUNER),
    ):
        assert set(registry.entries().values()) == set(listed), registry.kind


@pytest.mark.slow
@pytest.mark.parametrize("choice", sorted(path.stem for path in CHOICES.glob("*.yaml")))
def test_every_task_is_scored_in_one_way_and_says_its_direction(choice: str) -> None:
    spec = compose(f"task={choice}", *(["task.inputs=[a]"] if choice == "text" else [])).task
    task = TASKS.bind(spec.method, spec.arguments())()
    assert sum(isinstance(task, way) for way in WAYS_TO_BE_SCORED) == 1
    assert isinstance(task, StatesDirection)
    scores = [*spec.options["metrics"]] or ["accuracy"]
    assert find_directions(task, scores, []) == dict.fromkeys(scores, "higher")


@pytest.mark.parametrize(("metric", "higher"), [("mse", False), ("mae", False), ("pearson", True)])
def test_a_metric_says_its_direction(metric: str, higher: bool) -> None:
    spec = compose("task=demo_stsb", f"task.metrics=[{metric}]").task
    task = TASKS.bind(spec.method, spec.arguments())()
    assert isinstance(task, StatesDirection)
    assert find_directions(task, [metric], []) == {metric: "higher" if higher else "lower"}
    assert RunRecord(Path("older"), {"scores": {metric: 0.5}}).higher_is_better is higher


def test_a_record_that_says_the_direction_is_believed(tmp_path: Path) -> None:
    runs = [
        RunRecord(
            tmp_path / str(score),
            {"setting": str(score), "scores": {"perplexity": score}, "higher_is_better": False},
        )
        for score in (9.0, 4.0, 7.0)
    ]
    assert [run.main_score for run in choose_best_points(runs)] == [4.0]


TASK = '''
import numpy as np
from datasets import Dataset, DatasetDict
from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding

class Own:
    """No dataclass, and no class of the project's above it."""

    head = AutoModelForSequenceClassification
    head_options = {"num_labels": 2}
    higher_is_better = False

    def __init__(self, name, path, limit, max_length, files, words):
        self.words = words

    def load(self):
        rows = {"text": [f"{word} {n}" for word in self.words for n in range(8)]}
        rows["label"] = [n % 2 for n in range(len(rows["text"]))]
        return DatasetDict(train=Dataset.from_dict(rows), validation=Dataset.from_dict(rows))

    def encode(self, splits, tokenizer):
        made = lambda batch: tokenizer(batch["text"]) | {"labels": batch["label"]}
        return splits.map(made, batched=True, remove_columns=["text", "label"])

    def collator(self, tokenizer):
        return DataCollatorWithPadding(tokenizer)

    def predictions(self, output, rows):
        guesses = output.predictions.argmax(-1).tolist()
        return [{"id": n, "prediction": guess} for n, guess in enumerate(guesses)]

    def scores(self, output):
        wrong = output.predictions.argmax(-1) != output.label_ids
        return {"errors": float(np.mean(wrong))}
'''
KEYS = """
name: own
_target_: users_tasks.Own
path: null
limit: null
max_length: 32
words: [a, b]
"""
QUICK = ("task=own", "backbone=tiny-bert", "device=cpu", "pruner=snip", "protocol.epochs=1")


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A configuration folder of a user's, with the task `own`."""
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "own.yaml").write_text(KEYS)
    return tmp_path / "conf"


@pytest.mark.slow
def test_a_users_plain_class_is_a_task(
    tmp_path: Path, conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "users_tasks.py").write_text(TASK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "users_tasks", raising=False)
    found = f"hydra.searchpath=[file://{conf}]"
    record = train(ask_for(found, *QUICK, f"outputs={tmp_path}"))
    assert list(record.result["scores"]) == ["errors"]
    assert record.result["higher_is_better"] is False
    assert record.result["directions"] == {"errors": "lower"}
    with pytest.raises(ConfigError, match="task=own: has no method 'encode_inputs'"):
        package.load(record.folder, trust="users_tasks").predict([{"text": "a 1"}])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (("def load", "def lode"), "has no method 'load'"),
        (("def collator", "def collate"), "has no method 'collator'"),
        (("def scores", "def score"), "cannot be scored: it has neither 'scores' nor"),
        (("def predictions", "def predict"), "cannot be scored: it has neither 'scores' nor"),
        (("class Own:", "def Own():"), "has no method 'load'"),
    ],
)
def test_what_a_users_task_lacks_is_named(
    tmp_path: Path,
    conf: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: tuple[str, str],
    words: str,
) -> None:
    (tmp_path / "users_tasks.py").write_text(TASK.replace(*changed))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "users_tasks", raising=False)
    spec = compose(f"hydra.searchpath=[file://{conf}]", *QUICK)
    with pytest.raises(ConfigError, match=f"^task._target_=users_tasks.Own: {words}"):
        build_task(spec)


@pytest.mark.slow
def test_what_is_no_task_is_refused_in_one_line_and_nothing_written(
    tmp_path: Path, conf: Path, forked: Cli
) -> None:
    own = "class Own:\n    def __init__(self, name, path, limit, max_length, files, words): ...\n"
    (tmp_path / "users_tasks.py").write_text(own)
    path = f"{Path(package.__file__).parents[1]}:{tmp_path}"
    done = forked(("train", "--config-dir", str(conf), *QUICK), PYTHONPATH=path)
    assert done.returncode == 2
    assert done.stderr == "sparsead: task._target_=users_tasks.Own: has no method 'load'\n"
    assert not list(tmp_path.glob("outputs/runs/*"))

"""Records from a stranger before every reading call: no code of theirs is run, nothing escapes."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path

import pytest

import sparsead
from composing import ask_for
from damaged_records import VERBS, Damage, call, edit, record_runs, victim
from exhaustive import spread
from sparsead.errors import SparseadError
from sparsead.train import train

PAYLOAD = "open('{place}/HARM', 'w').write('x')\n\n\nclass X:\n    def insert(self, *_): pass\n"
ESCAPE = "\x1b]0;title\x07\x1b[2J\x9b1A\u202e"


ADAPTER, TASK, BACKBONE = (("config", group) for group in ("adapter", "task", "backbone"))
PEFT = {"name": "lora", "method": "peft"}
HOSTILE: dict[str, Damage] = {
    "adapter of the record's folder": edit(*ADAPTER, "method", to="outputs.runs.payload.X"),
    "adapter of the working folder": edit(*ADAPTER, "method", to="payload.X"),
    "adapter with a colon": edit(*ADAPTER, "method", to="payload:X"),
    "adapter of the standard library": edit(*ADAPTER, "method", to="os.system"),
    "a builtin function": edit(*ADAPTER, "method", to="builtins.exec"),
    "pruner": edit("config", "pruner", "method", to="payload.X"),
    "task": edit(*TASK, "method", to="payload.X"),
    "package": edit(*BACKBONE, "package", to="payload"),
    "package within a package": edit(*BACKBONE, "package", to="outputs.runs.payload"),
    "code of an architecture": edit(*BACKBONE, "architecture", "auto_map", to={"AutoModel": "x.y"}),
    "kernels of the hub": edit(*BACKBONE, "architecture", "attn_implementation", to="evil/kernel"),
    "submission outside": edit(*TASK, "options", "tests", to={"../../x": {"file": "x.tsv"}}),
    "test set outside": edit(*TASK, "options", "tests", to={"x": {"file": "../../x.tsv"}}),
    "split outside": edit(*TASK, "files", to={"../../x": "x.tsv"}),
    "predictions outside": edit("predictions", to={"../../x": {"examples": 1, "sha256": "x"}}),
    "backbone's name outside": edit(*BACKBONE, "name", to="../../x"),
    "adapter's name with a slash": edit(*ADAPTER, "name", to="a/b"),
    "hidden task": edit(*TASK, "name", to=".hidden"),
    "name with escapes": edit(*TASK, "name", to=ESCAPE),
    "metric with escapes": edit("scores", to={ESCAPE: 0.5}),
    "metric that is a formula": edit("scores", to={'=HYPERLINK("http://x")': 0.5}),
    "classes with escapes": edit(*TASK, "options", "labels", to=[ESCAPE, "=1+1"]),
    "option with escapes": edit(*ADAPTER, "options", "activation", to=ESCAPE),
    "hub name that is a path": edit(*BACKBONE, "hub", to="../../etc"),
    "an interpolation": edit(*TASK, "options", "prefix", to="${oc.env:SECRET}"),
    "a name of the hub that is YAML and Python": edit(
        *BACKBONE, "hub", to='x"\nlicense: evil\n"); import payload #'
    ),
    "a tuner of peft that imports": edit(
        *ADAPTER, to=PEFT | {"options": {"type": "lora", "config": {"megatron_core": "payload"}}}
    ),
    "a budget that names code": edit(*ADAPTER, "options", "budget", to="payload.X:4"),
    "a metric that is a formula of mathematics": edit("scores", to={r"$\frac{$": 0.5}),
    "a metric with the name of a column": edit("scores", to={"accuracy": 0.5, "run": 0.5}),
    "a start elsewhere": edit(*ADAPTER, "start", to="/etc"),
    "a commit that is a path": edit("sources", to={"task": {"commit": "../../../x"}}),
    "options from the data": edit("from_data", to={"inputs": ["${oc.env:SECRET}"], "tests": 5}),
    "classes from the data": edit("from_data", to={"labels": [ESCAPE, 5]}),
    "metrics from the data": edit("from_data", to={"metrics": ["payload.X"]}),
}
SCORED_BY_OTHER_WAYS = {
    "answers": ("task=demo_squad", "backbone=tiny-bert"),
    "texts": (
        *("task=demo_xsum", "backbone=tiny-bart"),
        *("task.generation.num_beams=1", "task.generation.max_new_tokens=4"),
    ),
}
"""Runs of tasks that import their metrics when they are built; `record_runs` has a classifier."""
METRICS: dict[str, Damage] = {
    "configured": edit(*TASK, "options", "metrics", to=["payload.X"]),
    "learned": edit("from_data", to={"metrics": ["payload.X"]}),
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_runs(tmp_path_factory.mktemp("recorded"))


@pytest.fixture(scope="module", params=SCORED_BY_OTHER_WAYS)
def otherwise_scored(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    place = tmp_path_factory.mktemp(request.param)
    (place / "rows.jsonl").write_text('{"question": "Who?", "context": "A.", "document": "A."}\n')
    words = ("task.limit=8", "protocol.epochs=1", "adapter=lora", "device=cpu", "seed=1")
    train(ask_for(*SCORED_BY_OTHER_WAYS[request.param], *words, f"outputs={place / 'outputs'}"))
    return place


@pytest.fixture
def place(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a copy of the runs, and payloads that Python could import."""
    return lay_out(recorded, tmp_path, monkeypatch)


def lay_out(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "place"
    shutil.copytree(recorded, folder)
    for path in (folder / "payload.py", folder / "outputs" / "runs" / "payload.py"):
        path.write_text(PAYLOAD.format(place=tmp_path))
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("SECRET", "s3cret")
    return folder


def is_safe(text: str) -> bool:
    return all(c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs") for c in text)


@pytest.mark.parametrize(("hostile", "verb"), spread(13, HOSTILE, VERBS))
def test_a_strangers_record_runs_no_code_and_writes_nothing_elsewhere(
    hostile: str, verb: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = victim(place / "outputs")
    before = {path for path in tmp_path.rglob("*") if place not in path.parents}
    HOSTILE[hostile](place / "outputs")
    status, out, lines = call(verb, place, run, capsys)
    assert status in (0, 1, 2)
    assert status != 2 or lines
    assert is_safe(out + "".join(lines)), out
    assert "s3cret" not in out + "".join(lines)
    assert "=HYPERLINK" not in [cell.strip('"')[:10] for cell in out.split(",")]
    assert {path for path in tmp_path.rglob("*") if place not in path.parents} == before
    assert not {"payload", "outputs"} & sys.modules.keys()


@pytest.mark.parametrize("hostile", HOSTILE)
def test_loading_a_strangers_record_runs_no_code(hostile: str, place: Path, tmp_path: Path) -> None:
    run = victim(place / "outputs")
    HOSTILE[hostile](place / "outputs")
    with suppress(SparseadError):
        loaded = sparsead.load(run)
        loaded.predict([dict.fromkeys(loaded.inputs, "A.")])
    assert not (tmp_path / "HARM").exists()
    assert not {"payload", "outputs"} & sys.modules.keys()


@pytest.mark.parametrize("metrics", METRICS)
@pytest.mark.parametrize("verb", ["predict", "export", "export --merged", "export --format"])
def test_metrics_of_a_strangers_record_are_not_imported(
    metrics: str,
    verb: str,
    otherwise_scored: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = lay_out(otherwise_scored, tmp_path, monkeypatch)
    run = victim(place / "outputs")
    METRICS[metrics](place / "outputs")
    status, _, lines = call(verb, place, run, capsys)
    assert status == 2
    assert len(lines) == 1
    assert "metrics" in lines[0]
    assert not (tmp_path / "HARM").exists()
    assert "payload" not in sys.modules


def test_a_trusted_package_is_imported(place: Path, tmp_path: Path) -> None:
    run = victim(place / "outputs")
    HOSTILE["adapter of the working folder"](place / "outputs")
    with pytest.raises(SparseadError):
        sparsead.load(run, trust="payload")  # its X takes no options
    assert (tmp_path / "HARM").exists()
    del sys.modules["payload"]

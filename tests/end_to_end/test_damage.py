"""Damaged records before every verb: the right answer, or one line that says what is damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from damaged_records import (
    VERBS,
    Damage,
    call,
    edit,
    forge_weights,
    other,
    record_runs,
    victim,
)
from exhaustive import spread
from sparsead.pruning.storage import WEIGHTS_FILE
from sparsead.runs.checked import write_checksummed
from sparsead.runs.failure import failure_file
from sparsead.runs.record import RESULT_FILE, RunRecord


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_runs(tmp_path_factory.mktemp("recorded"))


FORMATS = ("export", "export --merged", "export --format")
_OPTIONS = ("config", "adapter", "options")


def write(name: str, content: bytes | str) -> Damage:
    data = content if isinstance(content, bytes) else content.encode()
    return lambda outputs: (victim(outputs) / name).write_bytes(data)


def cut(name: str, share: float) -> Damage:
    def change(outputs: Path) -> None:
        file = victim(outputs) / name
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * share)])

    return change


def flip(name: str) -> Damage:
    def change(outputs: Path) -> None:
        file = victim(outputs) / name
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)

    return change


def swap(name: str) -> Damage:
    return lambda outputs: shutil.copy(other(outputs) / name, victim(outputs) / name)


def remove(name: str) -> Damage:
    return lambda outputs: (victim(outputs) / name).unlink()


def make_folder(name: str) -> Damage:
    def change(outputs: Path) -> None:
        (victim(outputs) / name).unlink()
        (victim(outputs) / name).mkdir()

    return change


def copy_run(outputs: Path) -> None:
    run = victim(outputs)
    shutil.copytree(run, run.with_name(f"{run.name}_twice"))
    shutil.copytree(run, run.with_name(f"copy_{run.name}"))


def rename_run(outputs: Path) -> None:
    run = victim(outputs)
    run.rename(run.with_name(run.name[:-16] + 16 * "0"))


def loop_links(outputs: Path) -> None:
    file = victim(outputs) / RESULT_FILE
    file.unlink()
    file.symlink_to(file)


def fail_as(content: Any) -> Damage:
    def change(outputs: Path) -> None:
        run = victim(outputs)
        shutil.rmtree(run)
        failure_file(run).write_text(content if isinstance(content, str) else json.dumps(content))

    return change


def fail_as_the_other(outputs: Path) -> None:
    run, config = victim(outputs), RunRecord.read(other(outputs)).result["config"]
    shutil.rmtree(run)
    failure = {"identity": 16 * "0", "error": "x", "config": config}
    failure_file(run).write_text(json.dumps(failure))


def cache(name: str, content: Any) -> Damage:
    def change(outputs: Path) -> None:
        (outputs / "cache").mkdir(exist_ok=True)
        if isinstance(content, str):
            (outputs / "cache" / name).write_text(content)
        else:
            write_checksummed(outputs / "cache" / name, content)

    return change


def claim(content: str) -> Damage:
    def change(outputs: Path) -> None:
        folder = outputs / "runs" / ".claims"
        folder.mkdir(exist_ok=True)
        (folder / f"{victim(outputs).name}.1").write_text(content)

    return change


def claims_as_a_file(outputs: Path) -> None:
    shutil.rmtree(outputs / "runs" / ".claims", ignore_errors=True)
    (outputs / "runs" / ".claims").write_text("x")


DAMAGES: dict[str, Damage] = {
    "result empty": write(RESULT_FILE, ""),
    "result cut": cut(RESULT_FILE, 0.5),
    "result not JSON": write(RESULT_FILE, "not JSON"),
    "result a list": write(RESULT_FILE, "[]"),
    "result null": write(RESULT_FILE, "null"),
    "result without keys": write(RESULT_FILE, "{}"),
    "result missing": remove(RESULT_FILE),
    "result a folder": make_folder(RESULT_FILE),
    "result a link to itself": loop_links,
    "result not UTF-8": write(RESULT_FILE, b"\xff\xfe\x00{"),
    "result in UTF-16": lambda outputs: (victim(outputs) / RESULT_FILE).write_text("{}", "utf-16"),
    "result nested deeply": write(RESULT_FILE, 100_000 * "["),
    "result of another run": swap(RESULT_FILE),
    "score NaN": edit("scores", "accuracy", to=float("nan")),
    "score infinite": write(RESULT_FILE, '{"scores": {"accuracy": 1e999}}'),
    "score a text": edit("scores", "accuracy", to="0.9"),
    "score a boolean": edit("scores", "accuracy", to=True),
    "score 51.5": edit("scores", "accuracy", to=51.5),
    "score a list": edit("scores", "accuracy", to=[0.5]),
    "score null": edit("scores", "accuracy", to=None),
    "no scores": edit("scores", to={}),
    "another metric": edit("scores", to={"bleu": 0.5}),
    "no configuration": edit("config", to=KeyError),
    "a group a text": edit("config", "adapter", to="lora"),
    "a group without its method": edit("config", "adapter", "method", to=KeyError),
    "a key of another version": edit("config", "adapter", "colour", to="red"),
    "options null": edit("config", "adapter", "options", to=None),
    "an unknown option": edit("config", "adapter", "options", "colour", to="red"),
    "an option of another type": edit("config", "adapter", "options", "alpha", to=[1]),
    "a missing option": edit("config", "adapter", "options", "alpha", to=KeyError),
    "an unknown method": edit("config", "adapter", "method", to="no such"),
    "a bottleneck of another size": edit("config", "adapter", "options", "bottleneck", to=8),
    "a bottleneck that is a text": edit("config", "adapter", "options", "bottleneck", to="4"),
    "other classes": edit("config", "task", "options", "labels", to=["a", "b", "c"]),
    "classes that are lists": edit("config", "task", "options", "labels", to=[[1], [2]]),
    "a seed a text": edit("config", "seed", to="1"),
    "another seed": edit("config", "seed", to=3),
    "an architecture too large": edit(
        "config", "backbone", "architecture", "hidden_size", to=4 * 10**9
    ),
    "an unknown architecture": edit("config", "backbone", "architecture", "model_type", to="x"),
    "a path that is gone": edit("config", "backbone", "path", to="/no/such/folder"),
    "identity missing": edit("identity", to=KeyError),
    "identity of another run": edit("identity", to=16 * "0"),
    "setting a number": edit("setting", to=5),
    "history a text": edit("history", to="x"),
    "history missing": edit("history", to=KeyError),
    "seconds negative": edit("seconds", "train", to=-1),
    "precision unknown": edit("environment", "precision", to="fp8"),
    "environment missing": edit("environment", to=KeyError),
    "sparsity contradictory": edit("sparsity", "removed", to=1),
    "parameters a list": edit("parameters", to=[]),
    "parameters of no backbone": edit("parameters", "backbone", to=0),
    "parameters a text": edit("parameters", "trainable_nonzero", to="x"),
    "fewer parameters than the head's": edit("parameters", "trainable_nonzero", to=1),
    "parameters without end": edit("parameters", "head", to=10**400),
    "predictions a text": edit("predictions", to="x"),
    "weights missing": remove(WEIGHTS_FILE),
    "weights empty": write(WEIGHTS_FILE, b""),
    "weights cut": cut(WEIGHTS_FILE, 0.7),
    "weights flipped": flip(WEIGHTS_FILE),
    "weights of another run": swap(WEIGHTS_FILE),
    "weights a folder": make_folder(WEIGHTS_FILE),
    "predictions missing": remove("predictions-validation.parquet"),
    "predictions flipped": flip("predictions-validation.parquet"),
    "predictions of another run": swap("predictions-validation.parquet"),
    "configuration not YAML": write("config.yaml", "{"),
    "a copied folder": copy_run,
    "a renamed folder": rename_run,
    "failure empty": fail_as(""),
    "failure a list": fail_as([]),
    "failure without its configuration": fail_as({"error": "x", "identity": 16 * "0"}),
    "failure of another run": fail_as_the_other,
    "index cut": cache("index.json", "{"),
    "index of other types": cache("index.json", {"settings": [], "runs": {"x": 1}}),
    "compositions cut": cache("composed.json", "{"),
    "compositions of other types": cache("composed.json", {"runs": {"x": {"spec": 1}}}),
    "throughput of other types": cache("throughput.json", {"kinds": {"x": []}}),
    "claim empty": claim(""),
    "claim a list": claim("[]"),
    "claim of other types": claim('{"pid": "x", "host": 5, "machine": [], "started": {}}'),
    "claim nested deeply": claim(100_000 * "["),
    "claims a file": claims_as_a_file,
}


@pytest.mark.parametrize("key", ["alpha", "dropout"])
@pytest.mark.parametrize("verb", ["predict", "export", "export --merged"])
def test_weights_compute_nothing_with_another_configuration_than_their_own(
    key: str, verb: str, recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "place"
    shutil.copytree(recorded, place)
    edit("config", "adapter", "options", key, to=0.75)(place / "outputs")
    status, out, lines = call(verb, place, victim(place / "outputs"), capsys)
    assert (status, out) == (2, "")
    assert f"config.adapter.options.{key}=0.75: the weights beside it were trained with" in lines[0]


def use_peft(kind: str, **config: Any) -> Damage:
    options = {"type": kind, "config": {"target_modules": ["query"], **config}}
    adapter = {"name": "lora", "method": "peft", "options": options}
    return edit("config", "adapter", to=adapter)


FORGED: dict[str, Damage] = {
    "a bottleneck that no memory holds": edit(*_OPTIONS, "bottleneck", to=10**12),
    "a bottleneck that no integer holds": edit(*_OPTIONS, "bottleneck", to=10**30),
    "an enormous scale": edit(*_OPTIONS, "alpha", to=10**400),
    "another method": edit("config", "adapter", "method", to="dora"),
    "chosen weights": edit(
        *("config", "adapter"),
        to={"name": "lora", "method": "sparse", "options": {"budget": 0.1, "sites": ["query"]}},
    ),
    "a prefix": edit(
        *("config", "adapter"),
        to={"name": "lora", "method": "prefix", "options": {"bottleneck": 4, "prefix": {}}},
    ),
    "a tuner of peft": use_peft("loha", r=2),
    "a tuner of peft that no memory holds": use_peft("loha", r=10**12),
    "a tuner of peft that imports what it is told": use_peft("lora", megatron_core="payload"),
}
"""Configurations that the weights' file has too, although its tensors do not fit them."""


@pytest.mark.parametrize(("forged", "verb"), spread(4, FORGED, ["predict", *FORMATS]))
def test_weights_that_do_not_fit_their_own_configuration_are_one_line(
    forged: str, verb: str, recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "place"
    shutil.copytree(recorded, place)
    FORGED[forged](place / "outputs")
    forge_weights(place / "outputs")
    status, out, lines = call(verb, place, victim(place / "outputs"), capsys)
    assert (status, out, len(lines)) == (2, "", 1)
    assert "frame #" not in lines[0]


@pytest.mark.parametrize(("damage", "verb"), spread(19, DAMAGES, VERBS))
def test_a_damaged_record_gives_the_right_answer_or_one_line(
    damage: str,
    verb: str,
    recorded: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = tmp_path / "place"
    shutil.copytree(recorded, place)
    run, whole = victim(place / "outputs"), other(place / "outputs")
    DAMAGES[damage](place / "outputs")
    monkeypatch.chdir(place)
    status, out, lines = call(verb, place, run, capsys)
    assert status in (0, 1, 2)
    if status == 2:
        assert len(lines) >= 1, "a refusal says why"
    if verb in ("runs", "table") and status == 0:
        rows = json.loads(out or "[]")
        if verb == "runs":
            assert whole.name in [row["run"] for row in rows]
        else:
            assert all(
                row["n"] <= 2 and 0 <= (row["accuracy"] or 0) <= 100
                for row in rows
                if "accuracy" in row
            )
    assert {path.name for path in tmp_path.iterdir()} == {"place"}

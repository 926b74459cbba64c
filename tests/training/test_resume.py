"""Checkpoints that are damaged, half written, or made by somebody else."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import sparsead.train as training
from composing import ask_for
from sparsead.errors import RecordError, TrainingStopped
from sparsead.runs.record import RunRecord
from sparsead.runs.request import RunRequest
from sparsead.training.resume import (
    open_checkpoint,
    read_seconds,
    readable,
    saved_steps,
    seal_checkpoint,
)

SMALL = (
    *("backbone=tiny-bert", "task=mrpc", "device=cpu", "precision=fp32", "adapter.bottleneck=4"),
    *("protocol.epochs=4", "protocol.batch_size=8"),
)
SAME = ("identity", "scores", "sparsity", "history", "parameters")


@pytest.fixture(scope="module")
def _glue() -> Path:
    return Path(__file__).parents[1] / "data" / "glue"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, _glue: Path) -> RunRecord:
    """The run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    return training.train(ask_for(*SMALL, f"task.path={_glue}", f"outputs={folder}"))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, _glue: Path) -> Path:
    """Outputs with the run stopped after its third of four epochs."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(TrainingStopped):
        training.train(
            ask_for(*SMALL, f"task.path={_glue}", f"outputs={folder}"), lambda e: len(e) == 3
        )
    return folder


@pytest.fixture
def left(stopped: Path, tmp_path: Path, _glue: Path) -> tuple[RunRequest, Path]:
    """A copy of the stopped run: its request and its staging folder."""
    shutil.copytree(stopped, tmp_path / "outputs")
    (staging,) = (tmp_path / "outputs" / "runs").glob(".partial-*")
    return ask_for(*SMALL, f"task.path={_glue}", f"outputs={tmp_path / 'outputs'}"), staging


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    """Leave what a power failure leaves of a file that was not flushed."""
    os.truncate(file, file.stat().st_size // 2)


def zero(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


FILES = (
    *("optimizer.pt", "scheduler.pt", "rng_state.pth", "model.safetensors", "trainer_state.json"),
    "checksums.json",
)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip, cut, zero, Path.unlink])
def test_a_damaged_checkpoint_is_not_used(
    left: tuple[RunRequest, Path], damage: Callable[[Path], None]
) -> None:
    _, staging = left
    for name in FILES:
        if name == "checksums.json" and damage is flip:
            continue  # any bit of it may be one of white space
        copy = staging.with_name(f"{staging.name}-{name}")
        shutil.copytree(staging, copy)
        assert saved_steps(copy) == 36
        damage(copy / "checkpoint-36" / name)
        assert saved_steps(copy) == 24, name
        assert open_checkpoint(copy) == str(copy / "checkpoint-24")
        assert not (copy / "checkpoint-36").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["checkpoint-36/optimizer.pt", "masks.safetensors", "precision"])
def test_a_run_with_a_damaged_file_ends_like_one_that_nothing_disturbed(
    left: tuple[RunRequest, Path], whole: RunRecord, name: str
) -> None:
    request, staging = left
    flip(staging / name)
    record = training.train(request)
    assert {key: record.result[key] for key in SAME} == {key: whole.result[key] for key in SAME}
    expected = 2.0 if name.startswith("checkpoint") else 0.0
    assert record.result["resumed_from_epoch"] == expected


class Touch:
    """What a pickle of a stranger does when it is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch {self.file}",))


def pickled(file: Path, ran: Path) -> None:
    file.write_bytes(pickle.dumps(Touch(ran)))


def saved(file: Path, ran: Path) -> None:
    torch.save({"state": Touch(ran)}, file)


def of_other_values(file: Path, ran: Path) -> None:
    torch.save({"state": {0: "x"}, "param_groups": ran.name}, file)


@pytest.mark.slow
@pytest.mark.parametrize("forge", [pickled, saved, of_other_values])
@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_strangers_checkpoint_runs_no_code_and_is_one_line(
    left: tuple[RunRequest, Path], tmp_path: Path, name: str, forge: Callable[[Path, Path], None]
) -> None:
    request, staging = left
    forge(staging / "checkpoint-36" / name, tmp_path / "ran")
    seal_checkpoint(staging, 36)  # the stranger knows how to
    with pytest.raises(
        RecordError, match=r"checkpoint-36: is not a checkpoint of this run"
    ) as said:
        training.train(request)
    assert "\n" not in str(said.value)
    assert not (tmp_path / "ran").exists()


STATES = (
    {"epoch": "late"},
    {"global_step": "many"},
    {"global_step": 24},
    {"log_history": [{"loss": 1}]},
    {"log_history": 3},
    {"log_history": [{"epoch": "x"}]},
    {"unknown": 1},
    {"epoch": None},
    {"max_steps": [], "num_train_epochs": "x"},
    {"train_batch_size": "x"},
    {"stateful_callbacks": {"os.system": {"args": {"command": "true"}}}},
)


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES, ids=str)
def test_a_state_of_other_values_is_one_line(
    left: tuple[RunRequest, Path], state: dict[str, object]
) -> None:
    request, staging = left
    file = staging / "checkpoint-36" / "trainer_state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | state))
    seal_checkpoint(staging, 36)
    with pytest.raises(RecordError, match=r"is not a checkpoint of this run"):
        training.train(request)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (MemoryError(), MemoryError),
        (torch.OutOfMemoryError("CUDA out of memory"), torch.OutOfMemoryError),
        (IndexError("pop from empty list"), RecordError),
    ],
)
def test_a_full_memory_is_not_the_fault_of_a_checkpoint(
    error: Exception, raised: type[Exception]
) -> None:
    with pytest.raises(raised), readable("checkpoint-36"):
        raise error


def edit_tensors(
    change: Callable[[dict[str, torch.Tensor]], object], metadata: dict[str, str] | None = None
) -> Callable[[Path], None]:
    """Return a function that changes the tensors of a file, and what it says of them."""

    def forge(file: Path) -> None:
        with safe_open(file, "pt") as opened:
            said = opened.metadata()
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file, {**said, **(metadata or {})})

    return forge


def set_first(tensor: torch.Tensor) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda tensors: tensors.update({min(tensors): tensor})


def in_half(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.half() for name, tensor in tensors.items()}


WEIGHTS = "checkpoint-36/model.safetensors"
EDITS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a weight is missing": (WEIGHTS, edit_tensors(lambda t: t.pop(min(t)))),
    "the head is missing": (WEIGHTS, edit_tensors(lambda t: t.pop("classifier.weight"))),
    "a weight of another shape": (WEIGHTS, edit_tensors(set_first(torch.zeros(7)))),
    "a weight of another name": (WEIGHTS, edit_tensors(lambda t: t.update(x=torch.zeros(3)))),
    "a weight in half precision": (WEIGHTS, edit_tensors(lambda t: t.update(in_half(t)))),
    "a weight of the backbone": (
        WEIGHTS,
        edit_tensors(lambda t: t.update({"bert.embeddings.LayerNorm.weight": torch.zeros(32)})),
    ),
    "a loss that is a text": (WEIGHTS, edit_tensors(dict.copy, {"loss_sum": "x"})),
    "a mask is missing": ("masks.safetensors", edit_tensors(lambda t: t.pop(min(t)))),
    "a mask of another shape": ("masks.safetensors", edit_tensors(set_first(torch.ones(3).bool()))),
    "a mask of numbers": (
        "masks.safetensors",
        edit_tensors(lambda t: t.update({name: mask.float() for name, mask in t.items()})),
    ),
    "masks that say nothing": ("masks.safetensors", edit_tensors(dict.copy, {"masks": "[]"})),
    "another precision": ("precision", lambda file: file.write_text("fp8")),
    "a precision that is no text": ("precision", lambda file: file.write_bytes(b"\xff")),
}


@pytest.mark.slow
@pytest.mark.parametrize("edited", EDITS)
def test_weights_masks_and_precision_of_another_run_are_one_line(
    left: tuple[RunRequest, Path], edited: str
) -> None:
    request, staging = left
    name, forge = EDITS[edited]
    forge(staging / name)
    seal_checkpoint(staging, 36)
    with pytest.raises(RecordError, match=r"is not a checkpoint of this run") as said:
        training.train(request)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("name", ["checkpoint-1/state", "masks.safetensors", "precision"])
def test_a_pipe_in_the_place_of_a_checkpoints_file_is_not_waited_for(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "checkpoint-1").mkdir()
    for file in ("checkpoint-1/state", "masks.safetensors", "precision"):
        (tmp_path / file).touch()
    seal_checkpoint(tmp_path, 1)
    assert saved_steps(tmp_path) == 1
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    assert saved_steps(tmp_path) == 0


@pytest.mark.slow
def test_what_lies_about_in_a_strangers_staging_folder_is_not_followed(
    left: tuple[RunRequest, Path], tmp_path: Path, whole: RunRecord
) -> None:
    request, staging = left
    outside = tmp_path / "outside"
    shutil.copytree(staging / "checkpoint-36", outside)
    (staging / "checkpoint-99").symlink_to(outside)
    (staging / "checkpoint-x").mkdir()
    (staging / "seconds.json").write_text('{"train": 1e20}', "utf-8")
    record = training.train(request)
    assert record.result["scores"] == whole.result["scores"]
    assert (outside / "optimizer.pt").exists()


def test_the_newest_checkpoints_are_kept_whatever_the_clock_says(tmp_path: Path) -> None:
    for name in ("masks.safetensors", "precision"):
        (tmp_path / name).touch()
    for step, time in ((1, 400), (2, 300), (10, 200), (9, 100)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "state").touch()
        os.utime(tmp_path / f"checkpoint-{step}", (time, time))
    seal_checkpoint(tmp_path, 10)
    assert sorted(p.name for p in tmp_path.glob("c*")) == ["checkpoint-10", "checkpoint-9"]
    assert saved_steps(tmp_path) == 10


@pytest.mark.parametrize("seconds", ['{"train": "long"}', '{"train": -1}', '{"train": 1e20}', "[]"])
def test_times_that_cannot_be_true_are_not_believed(tmp_path: Path, seconds: str) -> None:
    """Added to the run's own, they would give a record that cannot be read."""
    (tmp_path / "seconds.json").write_text(seconds, "utf-8")
    assert read_seconds(tmp_path) == {}


@pytest.mark.slow
def test_a_run_killed_between_its_end_and_its_record_is_only_recorded(
    left: tuple[RunRequest, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    request, _ = left
    with monkeypatch.context() as patch:
        patch.setattr(training, "remove_checkpoints", interrupt)
        with pytest.raises(KeyboardInterrupt):
            training.train(request)
    monkeypatch.setattr(training, "run", interrupt)
    record = training.train(request)
    assert record.folder == request.folder
    assert [path.name for path in request.folder.parent.iterdir()] == [request.folder.name]
    assert not list(record.folder.glob("checkpoint-*"))


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt

"""Successive halving over a small grid: when points stop, resuming, and a real search."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
import pytest
from omegaconf import DictConfig

from sparsead.commands.train import train_run
from sparsead.config.compose import compose
from sparsead.config.search import SearchSpec
from sparsead.errors import ConfigError, DataError, RecordError, StorageError, TrainingStopped
from sparsead.errors.memory import explain_lack_of_memory
from sparsead.runs.claim import claimed
from sparsead.runs.interrupt import Watch
from sparsead.runs.record import RunRecord, write_result
from sparsead.runs.request import RunRequest
from sparsead.runs.staging import staged
from sparsead.runs.trials import scores_by_epoch
from sparsead.search import Train, search
from synthetic import synthetic_result

pytest.importorskip("optuna")

GRID = (
    "search.learning_rate=[1e-4,1e-3,5e-3,1e-2]",
    "search.epochs=[8]",
    "search.batch_size=[8,16]",
)


def composed(outputs: Path, *overrides: str) -> DictConfig:
    small = ("search=asha", "backbone=tiny-bert", "task=demo_mrpc", "device=cpu")
    with hydra.initialize_config_module("sparsead.conf", version_base="1.3"):
        return hydra.compose("train", [*small, f"outputs={outputs}", *overrides])


def searched(config: DictConfig, train: Train = train_run) -> RunRecord:
    return search(RunRequest.from_config(config), SearchSpec.from_config(config), train)


def file_of(outputs: Path) -> dict[str, Any]:
    (file,) = (outputs / "search").iterdir()
    return dict(json.loads(file.read_text()))


class FakeTraining:
    """Scores that grow with the learning rate, and for equal ones with the batch."""

    def __init__(self, kill_at: int = 0) -> None:
        self.begun: list[RunRequest] = []
        self.kill_at = kill_at

    def __call__(self, request: RunRequest, watch: Watch | None = None) -> RunRecord:
        self.begun.append(request)
        if len(self.begun) == self.kill_at:
            raise KeyboardInterrupt
        if watch is None:
            return RunRecord(request.folder, {"scores": {"accuracy": 0.5}})
        point = request.spec.protocol
        scores: list[float] = []
        for epoch in range(1, point.epochs + 1):
            scores.append(epoch / 100 + point.learning_rate + point.batch_size / 1e5)
            if watch(scores):
                raise TrainingStopped("over")
        raise AssertionError("the search lets no trial score the dev set")


def test_a_score_before_training_is_not_that_of_an_epoch() -> None:
    history = [
        {"epoch": epoch, "scores": {"accuracy": score}}
        for epoch, score in ((0, 0.5), (0.5, 0.55), (1, 0.6), (2.0, 0.8))
    ]
    scores = {"accuracy": 0.8}
    record = RunRecord(Path("run"), {"history": history, "scores": scores})
    assert scores_by_epoch(record) == [0.6, 0.8]


def test_hopeless_points_stop_at_a_rung_and_a_killed_search_repeats_nothing(tmp_path: Path) -> None:
    config = composed(tmp_path / "whole", *GRID, "search.reduction=2")
    whole = FakeTraining()
    record = searched(config, whole)
    trials = file_of(tmp_path / "whole")["trials"]
    assert len(trials) == 8
    assert {len(trial["scores"]) for trial in trials if trial["state"] == "stopped"} <= {1, 2, 4, 8}
    assert {len(trial["scores"]) for trial in trials if trial["state"] == "finished"} == {8}
    assert any(trial["state"] == "stopped" for trial in trials)
    best = max(trials, key=lambda trial: (trial["learning_rate"], trial["batch_size"]))
    assert best["state"] == "finished"
    assert record.folder.name.endswith(best["identity"])
    assert file_of(tmp_path / "whole")["chosen"] == record.folder.name

    config = composed(tmp_path / "killed", *GRID, "search.reduction=2")
    first, second = FakeTraining(kill_at=5), FakeTraining()
    with pytest.raises(KeyboardInterrupt):
        searched(config, first)
    searched(config, second)
    assert file_of(tmp_path / "killed")["trials"] == trials
    assert len(first.begun) - 1 + len(second.begun) == len(whole.begun)


def run_out_of_memory() -> None:
    with explain_lack_of_memory():
        raise MemoryError


def refuse_the_batch() -> None:
    raise ConfigError("protocol.gradient_accumulation=9: is more than the number of batches")


@pytest.mark.parametrize(
    ("fail", "said"),
    [
        (run_out_of_memory, "DeviceError: out of memory"),
        (refuse_the_batch, "ConfigError: protocol.gradient_accumulation=9: is more"),
    ],
)
def test_a_point_that_fails_is_told_and_the_others_go_on(
    tmp_path: Path, fail: Callable[[], None], said: str
) -> None:
    fake = FakeTraining()

    def train(request: RunRequest, watch: Watch | None = None) -> RunRecord:
        if request.spec.protocol.batch_size == 16:
            fail()
        return fake(request, watch)

    searched(composed(tmp_path, *GRID), train)
    failed = [trial for trial in file_of(tmp_path)["trials"] if trial["state"] == "failed"]
    assert [trial["error"].startswith(said) for trial in failed] == [True] * 4
    assert len(list((tmp_path / "runs").glob("failed-*.json"))) == 4


def test_what_would_fail_every_point_ends_a_search(tmp_path: Path) -> None:
    def train(request: RunRequest, watch: Watch | None = None) -> RunRecord:
        raise DataError("mine.csv: is missing")

    with pytest.raises(DataError, match="is missing"):
        searched(composed(tmp_path, *GRID), train)


@pytest.mark.slow
def test_a_real_search_chooses_on_a_part_of_train_and_keeps_one_run(tmp_path: Path) -> None:
    grid = ("search.learning_rate=[1e-5,1e-2]", "search.epochs=[2]", "search.batch_size=[8]")
    config = composed(tmp_path, *grid, "task.limit=40", "search.reduction=2")
    record = searched(config)
    content = file_of(tmp_path)
    (best,) = [t for t in content["trials"] if t["identity"] == record.result["identity"]]
    history = [next(iter(epoch["scores"].values())) for epoch in record.result["history"]]
    assert best["scores"] == history
    assert record.objective == history[-1] == max(t["scores"][-1] for t in content["trials"])
    assert record.result["data"].keys() >= {"train", "validation", "test"}
    assert record.result["resumed_from_epoch"] == 2
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [content["chosen"]]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("protocol.selection=0", "compares points on a selection split"),
        ("search.reduction=1", "search.reduction=1: must be at least 2"),
        ("search.epochs=[]", "at least one"),
        ("search.batch_size=[0]", "search.batch_size=0"),
        ("rerun=true", "goes on with the search that is recorded"),
    ],
)
def test_a_search_that_cannot_be_is_refused(tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        searched(composed(tmp_path, override))
    assert not list(tmp_path.iterdir())


def test_one_run_takes_no_search() -> None:
    with pytest.raises(ConfigError, match="search=asha: works only with `sparsead train`"):
        compose(["search=asha"])


def record_point(request: RunRequest, watch: Watch | None = None) -> RunRecord:
    """Train as `FakeTraining` does, and record the point as soon as no watch is asked."""
    if watch is not None:
        return FakeTraining()(request, watch)
    rate = request.spec.protocol.learning_rate
    batch = request.spec.protocol.batch_size
    scores = [epoch / 100 + rate + batch / 1e5 for epoch in range(1, 9)]
    history = [
        {"epoch": float(e), "scores": {"accuracy": s}} for e, s in enumerate(scores, start=1)
    ]
    result = synthetic_result(request) | {"history": history}
    with staged(request.folder) as staging:
        write_result(staging, result, "")
    return RunRecord.read(request.folder)


def test_a_point_that_a_smaller_search_recorded_is_taken(tmp_path: Path) -> None:
    small = ("search.learning_rate=[1e-4,1e-3]", *GRID[1:])
    part = searched(composed(tmp_path, *small), record_point)
    (file,) = (tmp_path / "search").iterdir()
    file.unlink()
    trained: list[str] = []

    def train(request: RunRequest, watch: Watch | None = None) -> RunRecord:
        trained.append(request.identity)
        return record_point(request, watch)

    whole = searched(composed(tmp_path, *GRID), train)
    trials = {trial["identity"]: trial for trial in file_of(tmp_path)["trials"]}
    taken = trials[part.result["identity"]]
    assert taken["state"] == "finished"
    history = part.result["history"]
    assert taken["scores"] == [epoch["scores"]["accuracy"] for epoch in history]
    assert part.result["identity"] not in trained
    best = max(trials.values(), key=lambda trial: (trial["learning_rate"], trial["batch_size"]))
    assert whole.result["identity"] == best["identity"]


def test_an_edited_file_of_a_search_is_not_believed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = searched(composed(tmp_path, *GRID), FakeTraining())
    content = file_of(tmp_path)
    (file,) = (tmp_path / "search").iterdir()
    file.write_text(file.read_text().replace('"finished"', '"failed"').replace("0.0", "0.9"))
    again = searched(composed(tmp_path, *GRID), FakeTraining())
    assert "was altered (its checksum does not match); it is made anew" in capsys.readouterr().err
    assert again.folder == first.folder
    assert file_of(tmp_path) == content


class ClaimingTraining(FakeTraining):
    """Claims each run, as the real training does, and takes some time."""

    def __call__(self, request: RunRequest, watch: Watch | None = None) -> RunRecord:
        if watch is None:
            return record_point(request)
        request.folder.parent.mkdir(parents=True, exist_ok=True)
        with claimed(request.folder):
            time.sleep(0.05)
            return super().__call__(request, watch)


def test_two_workers_share_a_search_and_optunas_own_reader_opens_it(tmp_path: Path) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    config = composed(tmp_path, *GRID, "search.reduction=2")
    workers = [ClaimingTraining(), ClaimingTraining()]
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda worker: searched(config, worker), workers)
    assert one.folder == two.folder
    tried = [run.identity for worker in workers for run in worker.begun]
    assert len(tried) == len(set(tried)) == 8
    assert all(len(worker.begun) > 1 for worker in workers)
    (log,) = (tmp_path / "optuna").glob("*.log")
    storage = JournalStorage(JournalFileBackend(str(log)))
    study = optuna.load_study(study_name=log.stem, storage=storage)
    assert {trial.state.name for trial in study.trials} <= {"COMPLETE", "PRUNED"}
    assert study.best_trial.user_attrs["identity"] == one.folder.name.rpartition("_")[2]
    assert study.best_params["learning_rate"] == 1e-2


def test_a_damaged_journal_is_one_line(tmp_path: Path) -> None:
    config = composed(tmp_path, *GRID)
    searched(config, FakeTraining())
    (log,) = (tmp_path / "optuna").glob("*.log")
    whole = log.read_bytes()
    lines = (b"no journal", b"[]", whole[:40], b"[" * 100_000)
    for damaged in (line + b"\n" + whole for line in lines):
        log.write_bytes(damaged)
        with pytest.raises(RecordError, match=r"is not a journal of Optuna .*; delete it"):
            searched(config, FakeTraining())
    log.write_bytes(whole.replace(b'"identity"', b'"identities"'))
    with pytest.raises(RecordError, match="is the journal of another search"):
        searched(config, FakeTraining())
    for edited in (b"[]", b'"won"', b'{"a": 1}'):
        log.write_bytes(whole.replace(b'"finished"', edited))
        with pytest.raises(RecordError, match=r"is not a journal of Optuna .*; delete it"):
            searched(config, FakeTraining())


def test_the_same_grid_in_another_order_is_the_same_search(tmp_path: Path) -> None:
    first = searched(composed(tmp_path, *GRID), FakeTraining())
    written, again = file_of(tmp_path)["trials"], FakeTraining()
    turned = ("search.learning_rate=[1e-2,5e-3,1e-4,1e-3]", GRID[1], "search.batch_size=[16,8]")
    assert searched(composed(tmp_path, *turned), again).folder == first.folder
    assert file_of(tmp_path)["trials"] == written
    assert not [run for run in again.begun if run.folder != first.folder]


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_search_goes_on_after_a_fault_of_the_storage_has_cut_its_journal(tmp_path: Path) -> None:
    searched(composed(tmp_path / "whole", *GRID), FakeTraining())
    config = composed(tmp_path / "cut", *GRID)
    with no_file_longer_than(3000), pytest.raises(StorageError, match="same command again") as end:
        searched(config, FakeTraining())
    assert "\n" not in str(end.value)
    (log,) = (tmp_path / "cut" / "optuna").glob("*.log")
    assert len(log.read_bytes()) == 3000
    assert not log.read_bytes().endswith(b"\n")
    for _ in range(2):
        searched(config, FakeTraining())
        assert file_of(tmp_path / "cut")["trials"] == file_of(tmp_path / "whole")["trials"]


@pytest.mark.parametrize(
    ("kept", "said"), [(True, "is not the one in"), (False, "is not its last score")]
)
def test_a_journal_with_an_edited_score_chooses_no_point(
    tmp_path: Path, kept: bool, said: str
) -> None:
    config = composed(tmp_path, *GRID)
    searched(config, FakeTraining())
    content = file_of(tmp_path)
    (log,) = (tmp_path / "optuna").glob("*.log")
    (file,) = (tmp_path / "search").iterdir()
    worst = min(trial["scores"][-1] for trial in content["trials"] if trial["scores"][7:])
    intermediate = '"intermediate_value":'
    whole = log.read_text()
    edited = whole.replace(f"{intermediate}{worst}", f"{intermediate}7.0")
    assert edited != whole
    if kept:
        edited = edited.replace(f'"values":[{worst}]', '"values":[7.0]')
    else:
        file.unlink()
    log.write_text(edited)
    with pytest.raises(RecordError, match=f"{said}.*delete the journal"):
        searched(config, FakeTraining())
    assert not kept or file_of(tmp_path) == content


def test_torchrun_shares_no_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = composed(tmp_path, *GRID)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="is not for torchrun"):
        searched(config, FakeTraining())

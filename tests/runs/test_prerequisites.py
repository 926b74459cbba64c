"""The sources of a fusion: runs given by name, and tasks whose runs are trained first."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch

import sparsead
from composing import ask_for
from sparsead.commands import train as launch
from sparsead.config.run import RunSpec
from sparsead.errors import ConfigError, RecordError
from sparsead.runs.identity import compute_identity
from sparsead.runs.prerequisites import find_prerequisites, list_sources
from sparsead.runs.record import find_record, write_result
from sparsead.runs.request import RunRequest, do_prerequisites
from sparsead.runs.staging import staged
from sparsead.tables.cells import list_cells
from sparsead.tables.files import load_table
from sparsead.tables.sweep import count_states, run_cells
from synthetic import synthetic_result

TASKS = "adapter.fusion.tasks=[demo_mrpc,demo_cola]"


def record(request: RunRequest) -> None:
    """Write the record of a run without training it, unless it exists already."""
    if find_record(request.folder) is None:
        with staged(request.folder) as staging:
            (staging / "adapter.safetensors").write_bytes(request.identity.encode())
            write_result(staging, synthetic_result(request), "")


def fusion(outputs: Path, *changes: str) -> tuple[RunRequest, list[str]]:
    overrides = ["backbone=tiny-bert", "task=demo_mrpc", "adapter=fusion", f"outputs={outputs}"]
    return ask_for(*overrides, *changes), [*overrides, *changes]


def first_stage(request: RunRequest, overrides: list[str]) -> list[RunSpec]:
    return find_prerequisites(request.spec, overrides)


def fused(outputs: Path, *changes: str) -> RunRequest:
    return do_prerequisites(*fusion(outputs, *changes), record)


@pytest.mark.slow
def test_the_first_stage_is_the_runs_that_one_would_have_asked_for(tmp_path: Path) -> None:
    changes = ("seed=3", "protocol.epochs=2", "task.limit=8", "pruner=er", "sparsity.ratio=0.3")
    shared = ("backbone=tiny-bert", "adapter=pfeiffer", f"outputs={tmp_path}", *changes)
    asked = [ask_for(f"task={task}", *shared).spec for task in ("demo_mrpc", "demo_cola")]
    assert first_stage(*fusion(tmp_path, TASKS, *changes, "rerun=true")) == asked
    of_its_own = first_stage(*fusion(tmp_path, TASKS, "task.metrics=[f1]"))
    assert [spec.task.options["metrics"][0] for spec in of_its_own] == [
        "f1",
        "matthews_correlation",
    ]
    assert {spec.pruner.name for spec in of_its_own} == {"none"}


@pytest.mark.slow
def test_by_task_or_by_any_name_it_is_the_same_run(tmp_path: Path) -> None:
    by_task = fused(tmp_path, TASKS, "pruner=snip", "sparsity.ratio=0.4")
    folders = list_sources(by_task.spec)
    names = [Path(folder).name for folder in folders]
    assert [name.split("_pfeiffer_")[0] for name in names] == [
        "tiny-bert_demo_mrpc",
        "tiny-bert_demo_cola",
    ]
    for called in (folders, names, [name[-16:] for name in names], ["demo_mrpc_pf", "demo_cola"]):
        assert fused(tmp_path, f"adapter.fusion.sources=[{','.join(called)}]") == by_task
    assert (by_task.spec.pruner.name, by_task.spec.sparsity) == ("none", 0.0)
    pruned = fused(tmp_path, TASKS, "pruner=snip", "sparsity.ratio=0.4", "adapter.fusion.prune=qk")
    assert (pruned.spec.pruner.name, pruned.spec.sparsity) == ("snip", 0.4)
    dense, swapped = (
        fused(tmp_path, TASKS),
        fused(tmp_path, f"adapter.fusion.sources=[{names[1]},{names[0]}]"),
    )
    assert len({each.identity for each in (by_task, pruned, dense, swapped)}) == 4


def test_a_source_or_a_start_may_lie_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    request = ask_for("backbone=tiny-bert", "adapter=pfeiffer", f"outputs={tmp_path}")
    record(request)
    called = f"'~/runs/{request.folder.name}'"
    (folder,) = list_sources(fused(tmp_path, f"adapter.fusion.sources=[{called}]").spec)
    given = (
        "backbone=tiny-bert",
        f"outputs={tmp_path}",
        "adapter=pfeiffer",
        f"adapter.start={called}",
    )
    started = do_prerequisites(ask_for(*given), list(given), record)
    assert (folder, started.spec.adapter.start) == (str(request.folder),) * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["adapter.fusion.sources=[nosuch]"],
            "nosuch: is neither the folder of a run .*adapter.fusion.tasks",
        ),
        (["adapter.fusion.sources=[demo]"], "matches the names of 2 runs"),
        (
            ["adapter.fusion.sources=[houlsby]"],
            "adapter.method=bottleneck; fusion needs adapter=pfeiffer",
        ),
        (["adapter.fusion.sources=[_pfeiffer]", "backbone=tiny-bart"], "another backbone, tiny-be"),
        (["adapter.fusion.sources=[demo]", TASKS], "give either sources or tasks"),
        (["adapter.fusion.sources=demo"], "must be a list of runs"),
        (["adapter.fusion.tasks=[demo_colo]"], "did you mean demo_cola"),
    ],
)
def test_what_cannot_be_fused_is_named(tmp_path: Path, changes: list[str], message: str) -> None:
    for method in ("pfeiffer", "houlsby"):
        run = ask_for("backbone=tiny-bert", f"adapter={method}", f"outputs={tmp_path}")
        record(run)
    with pytest.raises(ConfigError, match=message):
        fused(tmp_path, *changes)


@pytest.mark.slow
def test_of_a_source_without_weights_it_is_said_how_it_is_trained_again(tmp_path: Path) -> None:
    fusing = fused(tmp_path, TASKS)
    (source, _) = map(Path, list_sources(fusing.spec))
    (source / "adapter.safetensors").unlink()  # as `sparsead runs unpack` adds a record
    remedy = f"`sparsead runs delete run={source.name} --outputs {tmp_path}` lets it be trained"
    with pytest.raises(RecordError, match=f"{source}: has a record but no weights, .*{remedy}"):
        compute_identity(fusing.spec)


@pytest.mark.slow
def test_one_command_trains_both_stages_and_the_run_then_needs_its_sources_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, overrides = fusion(tmp_path, TASKS, "pruner=snip", "task.limit=16", "protocol.epochs=1")
    more = ["sparsity=0.4", "device=cpu", "precision=fp32"]
    written = []
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", ["sparsead train", *overrides, *more])
        launch.main()
        written.append({run: run.stat().st_mtime_ns for run in tmp_path.glob("runs/*/result.json")})
    assert written[0] == written[1]
    run, *sources = (
        next(tmp_path.glob(f"runs/*_{name}_*"))
        for name in ("fusion", "demo_mrpc_pfeiffer", "demo_cola_pfeiffer")
    )
    stored = sparsead.load(sources[1]).adapted.trained_state()
    state = sparsead.load(run).adapted.trained_state()
    down = "bert.encoder.layer.0.output.LayerNorm.adapter{}.down.weight"
    assert torch.equal(state[down.format(".tasks.1")], stored[down.format("")])
    assert not stored[down.format("")].all()
    for folder in sources:
        shutil.rmtree(folder)
    alone = sparsead.load(run).adapted.trained_state()
    assert alone.keys() == state.keys()
    assert all(torch.equal(tensor, alone[name]) for name, tensor in state.items())


def test_no_other_part_of_the_program_knows_which_runs_need_others() -> None:
    package = Path(sparsead.__file__).parent
    named = {
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        if "fusion" in file.read_text("utf-8").lower().replace("confusion", "")
    }
    formats = (
        "assembly/exported_adapterhub.py",
        "exchange/adapterhub.py",
        "exchange/adapterhub_config.py",
        "report/card.py",
    )
    options = (
        "runs/options.py",
        "config/values/adapters.py",
        "config/values/__init__.py",
    )  # the options of every method
    versions = ("runs/identity.py",)
    assert named.difference(formats, options, versions) == {
        "adapters/fusion.py",
        "runs/prerequisites.py",
    }


@pytest.mark.slow
def test_a_table_does_the_runs_that_its_rows_need_first(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "backbones: tiny-bert\nseeds: 1\n"
        "columns: [{task: demo_mrpc, metric: accuracy}]\n"
        f"rows: [{{name: fused, overrides: [adapter=fusion, '{TASKS}']}}]\n"
    )
    table = load_table(str(tmp_path / "mine.yaml"), [f'outputs="{tmp_path}/its, here"'])
    assert count_states(list_cells(table)) == {"waiting": 1}
    run_cells(list_cells(table), record, tell=lambda *_: None)
    (cell,) = list_cells(table)
    assert len(list_sources(cell.spec)) == 2
    run_cells([cell], record, tell=lambda *_: None)
    assert count_states(list_cells(table)) == {"done": 1}

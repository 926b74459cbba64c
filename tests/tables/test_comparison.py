"""A table from the command line: rows of the swept keys, compared with the first one."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from conftest import Cli
from sparsead.commands import compare
from sparsead.errors import ConfigError
from sparsead.tables.cells import list_cells
from sparsead.tables.comparison import compare_table


@pytest.mark.slow
def test_swept_keys_become_rows_tasks_columns_and_backbones_groups() -> None:
    table = compare_table(
        [
            *("pruner=snip,random", "sparsity=0.2,0.4", "task=demo_mrpc,demo_stsb", "seed=1,2,3"),
            *("backbone=tiny-bert", "protocol.epochs=1"),
        ]
    )
    rows = ["snip, 0.2", "snip, 0.4", "random, 0.2", "random, 0.4"]
    assert [row.label for row in table.rows] == rows
    assert [(c.task, c.metric) for c in table.columns] == [
        *(("demo_mrpc", "accuracy"), ("demo_stsb", "pearson"))
    ]
    assert (table.backbones, table.seeds, table.average) == (
        *(["tiny-bert"], 3, ["demo_mrpc", "demo_stsb"]),
    )
    assert (table.baseline, table.baseline_label) == ("snip-0.2", "snip, 0.2")
    assert table.comparisons == ["snip-0.4", "random-0.2", "random-0.4"]
    cells = list_cells(table)
    assert len(cells) == 4 * 2 * 3
    assert {(c.spec.pruner.name, c.spec.sparsity) for c in cells} == {
        *(("snip", 0.2), ("snip", 0.4), ("random", 0.2), ("random", 0.4))
    }
    assert {cell.spec.protocol.epochs for cell in cells} == {1}


def test_what_is_not_given_is_the_default() -> None:
    table = compare_table(["adapter.bottleneck=16,64"])
    assert (table.backbones, table.seeds, table.average) == (["minilm"], 5, [])
    assert [row.label for row in table.rows] == ["16", "64"]
    assert compare_table(["pruner=snip,random", "seeds=7"]).seeds == 7


def test_a_glob_is_a_row_for_each_choice_that_matches() -> None:
    table = compare_table(["pruner=glob(snip*)"])
    assert [row.label for row in table.rows] == ["snip", "snip_authors", "snip_paper"]


def test_quotes_around_values_do_not_count() -> None:
    table = compare_table(['backbone="tiny-bert"', "task='demo_mrpc'", "pruner='snip',\"random\""])
    assert table.backbones == ["tiny-bert"]
    assert [column.label for column in table.columns] == ["demo_mrpc"]
    assert (
        [row.name for row in table.rows] == [row.label for row in table.rows] == ["snip", "random"]
    )


def test_values_that_differ_only_in_signs_are_rows_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").mkdir()
    for name in ("old/a.csv", "old-a.csv"):
        (tmp_path / name).write_text("a,label\nx,0\ny,1\n")
    table = compare_table(
        [
            "task=text",
            "task.inputs=[a]",
            "task.train=old/a.csv,old-a.csv",
            "task.validation=old-a.csv",
        ]
    )
    assert [row.label for row in table.rows] == ["old/a.csv", "old-a.csv"]
    assert [row.name for row in table.rows] == ["old-a.csv", "old-a.csv-2"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "compare: give a key with several values, such as pruner=snip,random"),
        (["pruner=snip", "seed=1,2"], "compare: give a key with several values"),
        (["pruner=snip,snop"], "pruner=snop: no such choice; did you mean snip?"),
        (["pruner=snip,random", "seed=2,3"], "seed=2,3: compare takes the seeds 1 to N"),
        (["pruner=snip,random", "seeds=0"], "seeds=0: must be a whole number, from 1 to 1,000"),
        (["protocol.learning_rate=interval(0,1)"], "compare takes lists of values"),
        (["pruner=snip,random", "seed=1,2", "seeds=1"], "seeds=1 and seed=1: give the seeds once"),
        (["pruner=snip,random", "seeds=1", "seeds=2"], "seeds=1 and seeds=2: give the seeds once"),
        (["pruner=snip,random", "seeds=1,2"], "seeds=1,2: must be a whole number"),
        (["pruner=snip,random", "++seed=7"], "++seed=7: give it without +"),
        (["pruner=snip,random", "task=cola", "task=rte"], "task=cola and task=rte: give task once"),
        (["pruner=snip,random", "task=rte,rte"], "task=rte: is given twice"),
        (["pruner=snip,random", "backbone=minilm,minilm"], "backbone=minilm: is given twice"),
    ],
)
def test_what_cannot_be_compared_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        list_cells(compare_table(overrides))


def test_a_launcher_trains_the_runs_and_is_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(compare, "reproduce", lambda table, **to: given.update(to, table=table))
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    words = ["backbone=tiny-bert", "pruner=snip,random", "device=cpu", "jobs_per_gpu=2"]
    monkeypatch.setattr("sys.argv", ["sparsead compare", *words])
    compare.main()
    assert given["launcher"] == launcher
    assert [row.label for row in given["table"].rows] == ["snip", "random"]
    assert given["table"].overrides == ["device=cpu"]


@pytest.mark.slow
def test_a_pruner_of_ones_own_is_compared_with_snip(
    sparsead: Cli, forked: Cli, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "def largest(scoring, power=1):\n"
        "    return {n: w.detach().abs() ** power for n, w in scoring.tensors.items()}\n"
    )
    (tmp_path / "conf" / "pruner").mkdir(parents=True)
    (tmp_path / "conf" / "pruner" / "largest.yaml").write_text(
        "name: largest\n_target_: mine.largest\npower: 2\n"
    )
    words = [
        *("compare", "--config-dir", "conf", "pruner=snip,largest", "seed=1,2"),
        *("backbone=tiny-bert", "task.limit=16", "protocol.epochs=1", "device=cpu"),
    ]
    path = {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    done = forked(words, **path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    told = [line for line in lines if re.match(r"\d of 4: ", line)]
    assert [line.partition(",")[0] for line in told] == [
        *("1 of 4: snip", "2 of 4: snip", "3 of 4: largest", "4 of 4: largest")
    ]
    assert all(re.search(r", seed [12]: accuracy \d+\.\d\d, f1 .*, \d+ s$", line) for line in told)
    assert any("p: paired permutation test, 1 comparison" in line for line in lines)
    assert any(re.match("Difference.*: from snip, ", line) for line in lines)
    again = sparsead(words, **path).stdout
    assert not re.search(r"\d of 4: ", again)

"""The estimated cost of a table, and its units."""

from __future__ import annotations

from pathlib import Path

import pytest

from composing import ask_for, compose
from sparsead.commands.train import train_run
from sparsead.tables.estimate import TIMES, Throughput, format_amount, name_kind, read_throughput


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0.4 s"), (42, "42 s"), (150, "2.5 min"), (3600, "1 h"), (443_000, "120 h")],
)
def test_a_duration_is_said_in_its_unit(seconds: float, said: str) -> None:
    assert format_amount(seconds, TIMES) == said


def test_the_time_counts_every_evaluation_and_the_scores_at_the_end() -> None:
    rate = Throughput(
        fixed=5, train=0.1, evaluate=0.01, score=2, examples=(100, 50), scored=(30, 7), stored=1
    )
    usual, often, limited, stopped = (
        compose("protocol.epochs=2", override)
        for override in (
            "seed=1",
            "protocol.evaluations=7",
            "task.limit=10",
            "protocol.max_steps=3",
        )
    )
    assert rate.seconds(usual) == pytest.approx(5 + 2 * (10 + 0.5) + 2 * 37)
    assert rate.seconds(often) == pytest.approx(5 + 2 * (10 + 4 * 0.5) + 0.5 + 2 * 37)
    assert rate.seconds(limited) == pytest.approx(5 + 2 * (1 + 0.1) + 2 * 17)
    assert rate.seconds(stopped) == pytest.approx(5 + 3 / 7 * 10 + 0.5 + 2 * 37)


@pytest.mark.parametrize(
    "overrides",
    [
        ("protocol.epochs=2",),
        ("protocol.epochs=2", "protocol.evaluations=6", "pruner=snip"),
        ("protocol.epochs=2", "protocol.selection=0.1"),
        ("protocol.max_steps=3",),
    ],
)
def test_a_run_that_was_trained_is_estimated_by_what_it_took(
    tmp_path: Path, glue_fixture: Path, overrides: tuple[str, ...]
) -> None:
    common = ("backbone=tiny-bert", "task=mrpc", f"task.path={glue_fixture}", "device=cpu")
    request = ask_for(*common, f"outputs={tmp_path}", *overrides)
    took = train_run(request).result["seconds"]
    measured = read_throughput(request)
    assert measured is not None
    assert measured.seconds(request.spec) == pytest.approx(sum(took.values()))


def test_a_part_of_the_data_does_not_tell_how_long_the_whole_takes(
    tmp_path: Path, glue_fixture: Path
) -> None:
    words = ("backbone=tiny-bert", "task=mrpc", f"task.path={glue_fixture}", "task.limit=8")
    request = ask_for(*words, f"outputs={tmp_path}", "device=cpu", "protocol.epochs=1")
    train_run(request)
    assert read_throughput(request) is None


def test_data_files_of_one_name_are_kinds_of_their_own(tmp_path: Path) -> None:
    """Their sizes differ, so that the time of one says nothing of the other's."""
    kinds = []
    for folder, rows in (("x", 2), ("y", 3), ("z", 3)):
        file = tmp_path / folder / "reviews.csv"
        file.parent.mkdir()
        file.write_text("text,label\n" + "good,1\nbad,0\n" * rows, "utf-8")
        words = (f"task.train={file}", "task.inputs=[text]", "task.validation_share=0.5")
        kinds.append(name_kind(compose("task=text", *words)))
    assert kinds[0] != kinds[1] == kinds[2]

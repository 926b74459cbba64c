"""The values of a sweep: each of them is one run."""

from __future__ import annotations

import pytest

from sparsead.config.sweeps import compose_jobs, drop_repeated_values


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("seed=1,1,2,3,2", "seed=1,2,3"),
        ("seed=1,1", "seed=1"),
        ("protocol.learning_rate=1e-4,0.0001,1e-3", "protocol.learning_rate=0.0001,0.001"),
        ("task.train='a, b.csv',c.csv,\"a, b.csv\"", "task.train='a, b.csv',c.csv"),
        ("++adapter.config.r=choice(4,8,4)", "++adapter.config.r=4,8"),
        ("task.inputs=[a,b],[a],[a,b]", "task.inputs=[a,b],[a]"),
    ],
)
def test_a_value_given_twice_is_one_value(given: str, kept: str) -> None:
    assert drop_repeated_values([given, "device=cpu"]) == [kept, "device=cpu"]


@pytest.mark.parametrize(
    "given",
    [
        *(
            "seed=range(1,4)",
            "pruner=snip,random",
            "task.inputs=[a,a]",
            "adapter.start_head=1,true",
        ),
        *("pruner=glob(s*)", "seed=1,,2", "--cfg", "sparsity.ratio=interval(0,1)", "~tracking"),
    ],
)
def test_other_overrides_are_left_alone(given: str) -> None:
    assert drop_repeated_values([given]) == [given]


def test_a_sweep_has_one_job_for_each_value() -> None:
    words = ["backbone=tiny-bert", "seed=1,1,2", "pruner=snip,random,snip"]
    assert len([*compose_jobs(drop_repeated_values(words))]) == 4

"""The line that says what a run trains."""

from __future__ import annotations

import pytest

from composing import compose
from sparsead.report.outcome import describe_setting

BEGIN = ("backbone=tiny-bert", "task=demo_mrpc", "pruner=snip")
END = "on tiny-bert; task demo_mrpc, seed 1"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["sparsity.ratio=0.4"], "houlsby with r=64, 40 % removed by snip"),
        (["sparsity=dense"], "houlsby with r=64, dense"),
        (
            ["adapter=sparse", "sparsity.ratio=0.4"],
            "sparse, which trains 60 % of its budget of houlsby:64, chosen by snip",
        ),
        (
            ["adapter=bitfit", "adapter.budget=0.5", "sparsity=dense"],
            "bitfit, which trains 100 % of its budget of 0.5, chosen by snip",
        ),
    ],
)
def test_a_run_is_described_by_what_is_removed_or_trained(overrides: list[str], said: str) -> None:
    assert describe_setting(compose(*BEGIN, *overrides)) == f"{said}, {END}"

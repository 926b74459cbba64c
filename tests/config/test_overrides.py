from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsead.config.overrides import expand, expand_numeric_sparsity
from sparsead.errors import ConfigError


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=5))
def test_numbers_are_shorthand_for_the_ratio(ratios: list[float]) -> None:
    values = ",".join(str(ratio) for ratio in ratios)
    assert expand_numeric_sparsity([f"sparsity={values}"]) == [f"sparsity.ratio={values}"]


@pytest.mark.parametrize(
    "value", ["0.4", "0", "1e-1", "0.2,0.4", "choice(0.2,0.4)", "range(0.2,0.8,0.2)"]
)
def test_every_numeric_form_is_rewritten(value: str) -> None:
    assert expand_numeric_sparsity([f"sparsity={value}"]) == [f"sparsity.ratio={value}"]


@pytest.mark.parametrize(
    "argument",
    [
        "sparsity=large_sparse",
        "sparsity=fixed,large_sparse",
        "sparsity=glob(*)",
        "sparsity.ratio=0.4",
        "sparsity.scale=4",
        "task.limit=4",
        "-m",
        "sparsity=",
        "sparsity=[0.2",
    ],
)
def test_everything_else_passes_through(argument: str) -> None:
    assert expand_numeric_sparsity([argument]) == [argument]


def test_numbers_and_names_do_not_mix() -> None:
    with pytest.raises(ConfigError, match="mixes numbers and names"):
        expand_numeric_sparsity(["sparsity=0.4,large_sparse"])


def test_a_choice_after_a_number_replaces_it_and_a_number_after_a_choice_is_its_ratio() -> None:
    assert expand_numeric_sparsity(["sparsity=0.5", "seed=1", "sparsity=dense"]) == [
        *("seed=1", "sparsity=dense"),
    ]
    both = expand_numeric_sparsity(["sparsity=large_sparse", "sparsity=0.4"])
    assert both == ["sparsity=large_sparse", "sparsity.ratio=0.4"]
    assert expand_numeric_sparsity(["sparsity.ratio=0.4", "sparsity=half"]) == [
        *("sparsity.ratio=0.4", "sparsity=half"),
    ]


def test_a_glob_is_the_list_of_the_choices_that_match() -> None:
    assert expand(["pruner=glob(snip*)"]) == ["pruner=snip,snip_authors,snip_paper"]
    assert expand(["sparsity=glob(*,exclude=[d*,l*])"]) == ["sparsity=fixed,half"]
    assert expand(["sparsity=0.4", "sparsity=glob(d*)"]) == ["sparsity=dense"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("pruner=glob(snop*)", r"pruner=glob\(snop\*\): matches none of er, erk, "),
        ("++seed=glob(*)", r"\+\+seed=glob\(\*\): a glob is for .*; give seed a list of values"),
    ],
)
def test_a_glob_that_matches_no_choice_is_refused(argument: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        expand([argument])


@pytest.mark.parametrize(
    ("typed", "listed"),
    [
        ("sparsity=range(0.1,0.5,0.1)", "sparsity.ratio=0.1,0.2,0.3,0.4"),
        ("sparsity=range(0.5,0.2,-0.1)", "sparsity.ratio=0.5,0.4,0.3"),
        ("sparsity=shuffle(range(0.1,0.4,0.1))", "sparsity.ratio=shuffle(0.1,0.2,0.3)"),
        ("sparsity=interval(0.1,0.3)", "sparsity.ratio=interval(0.1,0.3)"),
        ("protocol.weight_decay=range(0,3e-6,1e-6)", "protocol.weight_decay=0.0,1e-06,2e-06"),
        ("seed=range(1,4)", "seed=range(1,4)"),
    ],
)
def test_the_values_of_a_range_are_those_that_one_would_type(typed: str, listed: str) -> None:
    assert expand([typed]) == [listed]


@pytest.mark.parametrize("value", ["range(3,1)", "range(1,1)", "range(1,3,0)", "range(0.1,0.5,0)"])
def test_a_range_without_values_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=r"has no values; its form is range\(start,stop,step\)"):
        expand([f"seed={value}"])

from __future__ import annotations

from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf

from sparsead.config.choices import list_choices, list_groups
from sparsead.config.comments import describe_choice, read_comments
from sparsead.config.compose import initialised
from sparsead.config.help import describe_train, find_comment, find_comments
from sparsead.config.schema import list_leaves

GROUPS = [group for group in list_groups() if group not in ("hydra", "table")]


def test_a_comment_stands_behind_its_key_or_goes_on_below(tmp_path: Path) -> None:
    file = tmp_path / "choice.yaml"
    file.write_text(
        "# sparsead train a=b\n# What it is. More of it.\na: 1  # first |\n#     second\n"
        "b: {x: 1, y: 2}   # both\nc:  # a group\n  d: '#'  # inner\n  e: [1, 2]\nf: '# none'\n",
        "utf-8",
    )
    assert read_comments(file) == {
        "a": "first | second",
        "b": "both",
        "c": "a group",
        "c.d": "inner",
    }


@pytest.mark.parametrize("text", ["a: |\n  x\n", "a: >-\n  x\n  y", "b: 1\na: |+\n  x\n\n"])
def test_a_text_of_several_lines_at_the_end_of_a_file_has_no_comment(
    text: str, tmp_path: Path
) -> None:
    (tmp_path / "choice.yaml").write_text(text, "utf-8")
    assert read_comments(tmp_path / "choice.yaml") == {}


@pytest.mark.slow
@pytest.mark.parametrize("group", [group for group in GROUPS if group != "experiment"])
def test_every_key_of_every_choice_has_a_comment(group: str) -> None:
    for choice in list_choices(group):
        with initialised():
            config = hydra.compose("train", [f"{group}={choice}"], return_hydra_config=True)
        comments = find_comments(config, GROUPS)
        own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        for key, _ in list_leaves("", OmegaConf.to_container(own)):
            assert find_comment(key, comments), f"{group}={choice}: {key} has no comment"


@pytest.mark.parametrize("group", [*GROUPS, "table"])
def test_every_choice_says_what_it_is(group: str) -> None:
    if group in ("sparsity",):
        return
    said = {choice: describe_choice(group, choice) for choice in list_choices(group)}
    assert all(said.values())
    assert not any("sparsead train" in text for text in said.values())


def test_help_shows_values_and_their_meaning() -> None:
    text = describe_train(["adapter=lora", "protocol.epochs=7"])
    assert "${" not in text
    assert "protocol.epochs=7 " in text
    assert "adapter.bottleneck=8 " in text
    assert "# the rank r" in text
    assert "adapter: bitfit, dora, full, " in text

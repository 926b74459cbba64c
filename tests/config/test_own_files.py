"""Files of the user's own that are YAML, but not what a run can be composed from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparsead.config.choices import use_own_folder
from sparsead.config.compose import compose
from sparsead.errors import ConfigError


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my"
    for group in ("experiment", "pruner", "backbone"):
        (folder / group).mkdir(parents=True)
    use_own_folder(folder)
    yield folder
    use_own_folder(None)


def refused(*overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        compose(overrides)
    said = str(error.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sparsity: 0.2", "sparsity: 0.2: write `sparsity: {ratio: 0.2}`"),
        ("sparsity: 2e-1", "sparsity: 2e-1: write `sparsity: {ratio: 2e-1}`"),
        ("sparsity: null", "sparsity: null: removes the group; leave it out"),
        ("pruner: random", "pruner: random: write `defaults: [override /pruner: random]`"),
        ("pruner: randm", "pruner=randm: no such choice; did you mean random?"),
        ("task: demo_rte", "task: demo_rte: write `defaults: [override /task: demo_rte]`"),
        ("task: [a]", "task: ['a']: must have keys and values"),
        ("hydra: 3", "hydra: 3: must have keys and values"),
        ("search: grid", "search: grid: give search=grid on the command line"),
        ("backbone: ./x", "backbone: ./x: write `backbone: {path: ./x}` and `defaults: [override "),
        ("experiment: a", "experiment=a: no such choice (allowed: mine, "),
        ("experiment: mine", "experiment: mine: write `defaults: [/experiment/mine]`"),
        ("seed: ${", "cannot be read ("),
        ("defaults: 3", "defaults: must be a list, such as `defaults: [override /pruner: random]`"),
        ("defaults: [3]", "defaults: 3: must be the name of a file, or a choice such as `override"),
        ("defaults: [mine]", "its defaults lead back to itself; leave mine out there"),
        ("defaults: [/experiment/mine]", "its defaults lead back to itself"),
        (
            "defaults: [override /sparsity: 0.2]",
            "override /sparsity: 0.2: write `sparsity: {ratio: 0.2}` below the defaults",
        ),
        (
            "defaults: [override /pruner: 3]",
            "override /pruner: 3: must be the name of a choice: er",
        ),
        (
            "defaults: [override /backbone: ./x]",
            "write `override /backbone: folder`, and `backbone: {path: ./x}` below the defaults",
        ),
        ("defaults: [override /search: grid]", "give search=grid on the command line"),
        ("defaults: [pruner: random]", "pruner: random: write `override /pruner: random`"),
        (
            "defaults: [override hydra/launcher: joblib]",
            "write `override /hydra/launcher: joblib`",
        ),
    ],
)
def test_what_hydra_ends_in_a_traceback_for_names_the_file_and_what_to_write(
    own: Path, text: str, said: str
) -> None:
    (own / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}\n")
    message = refused("experiment=mine", "task.limit=16")
    assert message.startswith("my/experiment/mine.yaml: ")
    assert said in message


def test_what_a_message_says_to_write_is_composed(own: Path) -> None:
    text = "defaults: [override /pruner: random]\nsparsity: {ratio: 0.2}\n"
    (own / "experiment" / "mine.yaml").write_text(f"\n# @package _global_\n{text}")
    spec = compose(["experiment=mine"])
    assert (spec.pruner.name, spec.sparsity) == ("random", 0.2)


def test_files_that_the_defaults_name_are_checked_too(own: Path) -> None:
    (own / "experiment" / "a.yaml").write_text("# @package _global_\ndefaults: [b]\n")
    (own / "experiment" / "b.yaml").write_text("# @package _global_\nsparsity: 0.3\n")
    assert refused("experiment=a").startswith("my/experiment/b.yaml: sparsity: 0.3: write")
    (own / "experiment" / "b.yaml").write_text("# @package _global_\ndefaults: [a]\n")
    assert "its defaults lead back to itself" in refused("experiment=a")


def test_an_experiment_without_its_first_line_is_told_which(own: Path) -> None:
    (own / "experiment" / "mine.yaml").write_text("# mine\n# @package _global_\nseed: 2\n")
    assert "must begin with the line `# @package _global_`" in refused("experiment=mine")


@pytest.mark.parametrize(
    ("place", "text", "said"),
    [
        ("pruner/mine", "3", r"mine\.yaml: must have keys and values"),
        (
            "pruner/mine",
            "name: a",
            r"pruner\.method: is missing; .*`defaults: \[/base_pruner, _self_",
        ),
        (
            "backbone/mine",
            "name: a\npath: .",
            r"backbone\.\w+: is missing; .*`defaults: \[folder, _",
        ),
        ("pruner/mine", "defaults: [nowhere]", r"Could not load 'pruner/nowhere'$"),
    ],
)
def test_a_choice_without_keys_or_without_the_file_it_builds_on_is_one_line(
    own: Path, place: str, text: str, said: str
) -> None:
    (own / f"{place}.yaml").write_text(f"{text}\n")
    assert re.search(said, refused(place.replace("/", "=")))


def test_an_error_of_hydras_that_is_not_foreseen_is_one_line(own: Path) -> None:
    text = "# @package _global_\nhydra: {sweeper: 3}\n"
    (own / "experiment" / "mine.yaml").write_text(text)
    assert refused("experiment=mine").startswith("In 'experiment/mine': ")

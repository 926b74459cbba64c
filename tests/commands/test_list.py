from __future__ import annotations

import subprocess
import sys

import pytest

from conftest import Cli
from sparsead.config.choices import list_choices


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "group"),
    [("adapters", "adapter"), ("pruner", "pruner"), ("tasks", "task"), ("tables", "table")],
)
def test_a_line_about_each_choice(forked: Cli, kind: str, group: str) -> None:
    done = forked(["list", kind])
    assert done.returncode == 0, done.stderr
    listed = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert [name for name, _ in listed] == list_choices(group)


@pytest.mark.slow
def test_metrics_say_which_direction_is_better(forked: Cli) -> None:
    lines = forked(["list", "metrics"]).stdout.splitlines()
    assert "mae                   of numbers; lower is better" in lines
    assert any(line.startswith("rougeL ") for line in lines)
    assert "f1                    of classes and answers; higher is better" in lines


def test_what_cannot_be_listed_is_one_line(sparsead: Cli) -> None:
    done = sparsead(["list", "adaptors"])
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean adapters?" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("kind", "known"), [("backbones", "minilm "), ("metrics", "mae ")])
def test_a_list_imports_no_torch(kind: str, known: str) -> None:
    code = (
        "import sys; from sparsead.cli import main\n"
        "try: main()\n"
        "finally: assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)"
    )
    words = [sys.executable, "-c", code, "list", kind]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert known in done.stdout

"""RESULTS.md and its pictures are what the commands in it give, byte for byte."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "make_results.py"


def contents(folder: Path) -> dict[str, bytes]:
    files = [folder / "RESULTS.md", *(folder / "results").rglob("*")]
    return {str(f.relative_to(folder)): f.read_bytes() for f in files if f.is_file()}


@pytest.mark.slow
def test_the_results_are_what_their_commands_give(tmp_path: Path) -> None:
    shutil.copy(ROOT / "RESULTS.md", tmp_path)
    shutil.copytree(ROOT / "results", tmp_path / "results")
    for made in [*tmp_path.rglob("*.svg"), *tmp_path.rglob("*.png")]:
        made.unlink()
    subprocess.run([sys.executable, SCRIPT, "--folder", tmp_path], check=True)
    assert contents(tmp_path) == contents(ROOT)


def test_every_table_in_the_results_is_made_by_a_command() -> None:
    text = (ROOT / "RESULTS.md").read_text("utf-8")
    by_hand = re.sub(r"<!-- sparsead .*?<!-- end -->", "", text, flags=re.DOTALL)
    assert "| ---" not in by_hand
    assert "![" not in by_hand

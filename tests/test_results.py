"""RESULTS.md and its pictures are what the commands in it give, byte for byte.

Its tables train at the learning rates that were best on held-out examples.
"""

from __future__ import annotations

import re
import runpy
import shutil
from collections import defaultdict
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from sparsead.config.choices import use_own_folder
from sparsead.runs.archive import unpacked
from sparsead.runs.record import read_records
from sparsead.tables.cells import list_cells
from sparsead.tables.files import load_table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
SCRIPT = ROOT / "scripts" / "make_results.py"
Method = tuple[str, str, str, Any]
"""The tasks for which a rate was chosen together, a backbone, an adapter and its bottleneck."""
TOGETHER = {"mrpc": "MRPC and STS-B", "stsb": "MRPC and STS-B"}
"""Tasks with one rate, that of the best mean over them; each other task has a rate of its own."""


def contents(folder: Path) -> dict[str, bytes]:
    files = [folder / "RESULTS.md", *(folder / "results").rglob("*")]
    return {str(f.relative_to(folder)): f.read_bytes() for f in files if f.is_file()}


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page and its tables, in which each configuration is composed once."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copy(ROOT / "RESULTS.md", folder)
    shutil.copytree(ROOT / "results", folder / "results")
    return folder


@pytest.mark.slow
def test_the_results_are_what_their_commands_give(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for made in [*copied.rglob("*.svg"), *copied.rglob("*.png")]:
        made.unlink()
    monkeypatch.setattr("sys.argv", [str(SCRIPT), "--folder", str(copied)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert contents(copied) == contents(ROOT)


def test_every_table_in_the_results_is_made_by_a_command() -> None:
    text = (ROOT / "RESULTS.md").read_text("utf-8")
    by_hand = re.sub(r"<!-- sparsead .*?<!-- end -->", "", text, flags=re.DOTALL)
    assert "| ---" not in by_hand
    assert "![" not in by_hand


def method_of(config: dict[str, Any]) -> Method:
    task, adapter = config["task"]["name"], config["adapter"]
    bottleneck = adapter["options"].get("bottleneck")
    return TOGETHER.get(task, task), config["backbone"]["name"], adapter["name"], bottleneck


@pytest.fixture(scope="module")
def chosen_rates() -> dict[Method, float]:
    """Return the rate with the best mean score on held-out examples, of all that were tried."""
    scores: dict[Method, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for archive in RESULTS.glob("*.parquet"):
        with unpacked(archive) as outputs:
            for record in read_records(outputs):
                config = record.result["config"]
                if record.holds_out and config["protocol"]["epochs"] == 3:
                    rate = config["protocol"]["learning_rate"]
                    scores[method_of(config)][rate].append(record.objective)
    return {
        method: max(tried, key=lambda rate: fmean(tried[rate])) for method, tried in scores.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(RESULTS.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_table_is_whole_and_trains_at_the_rates_that_were_chosen(
    file: Path,
    chosen_rates: dict[Method, float],
    copied: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(copied)
    request.addfinalizer(partial(use_own_folder, None))
    if re.search("rte|mpnet", file.stem):  # their backbones are in the folder
        use_own_folder(Path("results"))
    name = f"results/{file.name}"
    columns = [column.name for column in load_table(name).columns]
    table = load_table(name, ["seeds=1", f"only=column={columns[0]}"])
    cells = list_cells(table)
    assert [cell.row for cell in cells] == [row.name for row in table.rows]
    if not file.stem.startswith("rates_"):
        trained = {
            cell.row: (method_of(cell.spec.to_dict()), cell.spec.protocol.learning_rate)
            for cell in cells
        }
        chosen = {
            row: (method, chosen_rates.get(method, rate)) for row, (method, rate) in trained.items()
        }
        assert trained == chosen

from __future__ import annotations

from pathlib import Path

import pytest

from composing import ask_for
from sparsead.commands import runs
from sparsead.config.outputs_folder import check_no_links
from sparsead.errors import ConfigError
from sparsead.runs.index import read_summaries
from sparsead.runs.record import write_result
from sparsead.runs.staging import staged
from synthetic import synthetic_result


def record(outputs: Path) -> str:
    request = ask_for(f"outputs={outputs}")
    with staged(request.folder) as staging:
        write_result(staging, synthetic_result(request), "")
    return request.folder.name


@pytest.mark.parametrize(
    "link",
    [
        *("runs", "cache", "reports", "figures", "search", "optuna", "multirun", "trash"),
        *("runs/.claims", "trash/runs", "reports/all.html", "figures/budget.png", "optuna/a.log"),
    ],
)
def test_a_link_in_the_outputs_is_refused_before_anything_is_written(
    tmp_path: Path, link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs, outside = tmp_path / "outputs", tmp_path / "outside"
    name = record(outside)
    before = sorted(outside.rglob("*"))
    (outputs / link).parent.mkdir(parents=True)
    (outputs / link).symlink_to(outside / link, target_is_directory=True)
    monkeypatch.setattr(
        "sys.argv", ["sparsead runs", "delete", name, "--yes", "--outputs", str(outputs)]
    )
    reading_and_writing = (
        runs.main,
        lambda: ask_for(f"outputs={outputs}"),
        lambda: read_summaries(outputs),
    )
    for call in reading_and_writing:
        with pytest.raises(ConfigError, match=f"{link}: is a link, .* only .*outputs itself may"):
            call()
    assert sorted(outside.rglob("*")) == before


def test_the_outputs_themselves_and_a_record_may_be_links(tmp_path: Path) -> None:
    name = record(tmp_path / "disk")
    (tmp_path / "outputs").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "runs" / name).rename(tmp_path / "archived")
    (tmp_path / "disk" / "runs" / name).symlink_to(tmp_path / "archived")
    check_no_links(tmp_path / "outputs")
    assert [one.folder.name for one in read_summaries(tmp_path / "outputs")] == [name]

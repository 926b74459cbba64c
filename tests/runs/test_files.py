"""Files that are written at once or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsead.errors import RecordError
from sparsead.runs.files import write_atomically, write_result_file


def test_a_file_that_cannot_be_written_is_named_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "seconds.json").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_atomically(tmp_path / "seconds.json", "{}")
    assert caught.value.filename == str(tmp_path / "seconds.json")
    assert [path.name for path in tmp_path.iterdir()] == ["seconds.json"]


def test_a_result_goes_to_a_new_file_and_not_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("kept")
    (tmp_path / "table.md").symlink_to(tmp_path / "other")
    write_result_file(tmp_path / "table.md", "new")
    assert (tmp_path / "table.md").read_text() == "new"
    assert (tmp_path / "other").read_text() == "kept"
    with pytest.raises(RecordError, match=r"table.md/a.md: cannot be written"):
        write_result_file(tmp_path / "table.md" / "a.md", "new")


@pytest.mark.parametrize("given", [".", "", "/", "mine"])
def test_a_result_takes_the_place_of_no_folder(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    with pytest.raises(RecordError, match="is a folder; name a file"):
        write_result_file(Path(given), "new")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_device_is_written_to_and_not_replaced() -> None:
    write_result_file(Path("/dev/null"), "new")
    assert Path("/dev/null").is_char_device()

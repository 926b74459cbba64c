"""Files that are written at once or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsead.runs.files import write_atomically


def test_a_file_that_cannot_be_written_is_named_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "seconds.json").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_atomically(tmp_path / "seconds.json", "{}")
    assert caught.value.filename == str(tmp_path / "seconds.json")
    assert [path.name for path in tmp_path.iterdir()] == ["seconds.json"]

"""`--json` of the verbs that print values: the same as their tables, as one JSON value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsead import cli
from sparsead.pruning.storage import WEIGHTS_FILE, save_sparse
from synthetic import plain_result, write_record


def printed(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    monkeypatch.setattr("sys.argv", ["sparsead", *words, "--json"])
    cli.main()
    return json.loads(capsys.readouterr().out)


def test_lists_and_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    counts = {"nominal": 0.02, "backbone": 1000}
    write_record(tmp_path / "outputs", plain_result(scores={"accuracy": 0.75}, parameters=counts))
    assert printed(["runs"], monkeypatch, capsys)[0]["score"] == 75
    assert printed(["table"], monkeypatch, capsys)[0]["accuracy"] == 75
    assert printed(["map"], monkeypatch, capsys)[0]["score"] == 75
    assert "houlsby" in printed(["list", "adapters"], monkeypatch, capsys)
    assert "snip" in printed(["list"], monkeypatch, capsys)["pruners"]


def test_a_run_s_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = np.array([[True, False], [True, True]])
    result = plain_result()
    folder = write_record(tmp_path, result)
    name = "model.layers.0.fc2.adapter.down.weight"
    metadata = {"identity": result["identity"]}
    save_sparse(folder / WEIGHTS_FILE, {name: mask.astype(np.float32)}, {name: mask}, metadata)
    values = printed(["show", str(folder)], monkeypatch, capsys)
    assert (values["kept"], values["weights"]) == (3, 4)
    assert values["density"]["0"] == pytest.approx({"fc2 down": 0.75, "all": 0.75})
    with pytest.raises(SystemExit):
        printed(["show", str(folder), "--errors"], monkeypatch, capsys)
    assert "--json has a run's masks alone" in capsys.readouterr().err

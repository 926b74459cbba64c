"""Draw the pictures of README.md and docs/ anew: python scripts/make_pictures.py.

Those of results are drawn from the records in results/, so that they need neither data nor
weights. The densities need the mask of a run, for which a short one is trained on generated data.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
RECORDS = ("--records", str(ROOT / "results" / "minilm.parquet"))
RESULTS = (
    ("results/figure2.yaml", "only=row=adapter,random-40,random-80,snip-40,snip-80"),
    (
        *("curves", "task=mrpc", "protocol.selection=0", "adapter=houlsby", "r=48"),
        *("adapter.init=bert", "pruner=none,random,snip", "pruner.control=none", "sparsity=0,0.4"),
    ),
)
RUN = ("task.limit=64", "protocol.epochs=1", "backbone=minilm")


def main() -> None:
    for words in RESULTS:
        for written in _sparsead("figure", *words, *RECORDS, "--out", str(PICTURES)).splitlines():
            if written.endswith(".png"):  # the pages show the SVG
                Path(written).unlink()
    with TemporaryDirectory() as outputs:
        folder = _sparsead("train", *RUN, "--quiet", f"outputs={outputs}").strip()
        _sparsead("figure", "masks", folder, "--out", str(PICTURES / "masks.svg"))


def _sparsead(*words: str) -> str:
    script = Path(sys.executable).with_name("sparsead")
    done = subprocess.run([script, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


if __name__ == "__main__":
    main()

"""Load exported folders with AdapterHub's package `adapters`, and compare its outputs with ours.

That package needs an older transformers, and so an environment of its own:

    python -m venv /tmp/adapters
    /tmp/adapters/bin/pip install adapters==1.3.0 torch==2.13.0
    SPARSEAD_ADAPTERS=/tmp/adapters/bin/python pytest tests/exchange/test_adapterhub.py

The test writes a folder for each architecture and method, and gives this script the folder of them.
Each case has `base`, the backbone; `exported`, the folder to load; `outputs.safetensors`, inputs
and logits; and `case.json`, the transformers class. A line is printed for each case, with the
largest difference; the exit status is 1 if one is above 1e-5. With a second argument, a file, it
writes the names and shapes of the adapters' tensors in the package's models to it:

    … scripts/check_adapterhub.py CASES tests/data/adapterhub.json
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file

import adapters

TOLERANCE = 1e-5
# Under sdpa the package leaves the decoder's causal mask to PyTorch, which does not allow for the
# prefix.
EAGER = {"attn_implementation": "eager"}


def main() -> None:
    transformers.logging.set_verbosity_error()
    logging.getLogger("adapters").setLevel(logging.ERROR)
    failed, keys = False, {}
    for case in sorted(Path(sys.argv[1]).iterdir()):
        for kind in ("plain", "flexible", "safetensors"):
            difference = compare(case, kind)
            failed |= difference is not None and not difference <= TOLERANCE
            print(case.name, kind, difference)
        keys[case.name] = describe(case)
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(json.dumps(keys, indent=1, sort_keys=True) + "\n")
    raise SystemExit(int(failed))


@torch.no_grad()
def compare(case: Path, kind: str) -> float | None:
    """Return the largest difference, relative to logits above 1; None without a flexible head."""
    described = json.loads((case / "case.json").read_text())
    tensors = load_file(case / "outputs.safetensors")
    expected = tensors.pop("logits")
    model = load_base(case / "base", described, kind)
    if model is None:
        return None
    load(model, case / "exported", kind)
    output = model.eval()(**tensors)
    answers = "start_logits" in output
    logits = torch.stack([output.start_logits, output.end_logits]) if answers else output.logits
    return float(((logits - expected).abs() / expected.abs().clamp(min=1)).max())


def describe(case: Path) -> dict[str, list[int]]:
    """Return the shapes of the tensors that the package adds, by name.

    A pool holds the prefixes, to which each attention module has a reference; only the pool counts.
    """
    model = load_base(case / "base", json.loads((case / "case.json").read_text()), "plain")
    own = {*model.state_dict()}
    load(model, case / "exported", "plain")
    added = {name: t for name, t in model.state_dict().items() if name not in own}
    return {name: list(t.shape) for name, t in added.items() if ".prefix_tuning.pool." not in name}


def load_base(folder: Path, described: dict[str, Any], kind: str) -> Any:
    if kind == "flexible":
        if not described["flexible"]:
            return None
        return adapters.AutoAdapterModel.from_pretrained(folder, **EAGER)
    model = getattr(transformers, described["class"]).from_pretrained(folder, **EAGER)
    adapters.init(model)
    return model


def load(model: Any, folder: Path, kind: str) -> None:
    options = {"set_active": True, "use_safetensors": kind == "safetensors"}
    if (folder / "adapter_setup.json").is_file():
        model.load_adapter_setup(str(folder), **options)
    else:
        model.load_adapter(str(folder), **options)


if __name__ == "__main__":
    main()

"""Records in the form of real ones, made without training."""

from __future__ import annotations

from sparsead.config.run import RunSpec
from sparsead.runs.identity import identity, placeless, setting


def synthetic_result(spec: RunSpec) -> dict[str, object]:
    """A result that depends on the run alone, with a history and lists as long as real ones."""
    accuracy = 0.5 + int(identity(spec)[:4], 16) / 2**18
    return {
        "identity": identity(spec),
        "setting": setting(spec),
        "config": placeless(spec),
        "scores": {"accuracy": accuracy, "f1": accuracy},
        "history": [{"epoch": epoch, "scores": {"accuracy": accuracy}} for epoch in range(1, 6)],
        "parameters": {"nominal": 0.0123, "stored_bytes": 1000},
        "sparsity": {"realised": spec.sparsity, "scored_on": list(range(320)), "by_tensor": {}},
        "seconds": {"load": 1.0, "train": 10.0},
        "environment": {"device": {"kind": "cpu"}},
    }

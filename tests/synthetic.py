"""Records in the form of real ones, made without training."""

from __future__ import annotations

from sparsead.runs.request import RunRequest


def synthetic_result(request: RunRequest) -> dict[str, object]:
    """A result that depends on the run alone, with a history and lists as long as real ones."""
    accuracy = 0.5 + int(request.identity[:4], 16) / 2**18
    return {
        "identity": request.identity,
        "setting": request.setting,
        "config": request.spec.to_dict(),
        "scores": {"accuracy": accuracy, "f1": accuracy},
        "history": [{"epoch": epoch, "scores": {"accuracy": accuracy}} for epoch in range(1, 6)],
        "parameters": {"nominal": 0.0123, "stored_bytes": 1000},
        "sparsity": {
            "realised": request.spec.sparsity,
            "scored_on": list(range(320)),
            "by_tensor": {},
        },
        "seconds": {"load": 1.0, "train": 10.0},
        "environment": {"device": {"kind": "cpu"}},
    }

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from sparsead.runs.failure import record_failure

ENVIRONMENT = {
    "HF_TOKEN": 'of "the" hub',
    "WANDB_API_KEY": "0123456789abcdef",
    "TOKENIZERS_PARALLELISM": "sometimes",
}
WORDS = ("hydra.launcher.ray.init._redis_password=hunter2hunter2", "max_new_tokens=60")
FORMS = ("hf_" + "A1b2" * 8, "sk-" + "x" * 20, "https://me:pass@proxy")
CONFIG = {"task": {"options": {"api_key": "key-of-an-option", "name": "mrpc"}}}


def test_a_failure_tells_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["sparsead", *WORDS])
    told = " ".join((*ENVIRONMENT.values(), *WORDS, *FORMS, "key-of-an-option"))
    file = record_failure(tmp_path / "run", ValueError(told), identity="one", config=CONFIG)
    failure = json.loads(file.read_text())
    assert failure["command"] == ["sparsead", WORDS[0].partition("=")[0] + "=***", WORDS[1]]
    assert failure["config"] == {"task": {"options": {"api_key": "***", "name": "mrpc"}}}
    left = f"*** *** sometimes {failure['command'][1]} {WORDS[1]} *** *** https://***@proxy ***"
    assert failure["error"] == f"ValueError: {left}"
    for secret in ("of \\", "0123456789abcdef", "hunter2", *FORMS, "key-of-an-option"):
        assert secret not in file.read_text()

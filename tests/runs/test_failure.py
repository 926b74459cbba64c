from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from sparsead.runs.failure import read_failures, record_failure
from sparsead.runs.record import restore_all_replaced
from sparsead.runs.secrets import hide_secrets
from sparsead.runs.staging import list_unfinished
from sparsead.runs.tally import NoteSweep, note_run

ENVIRONMENT = {
    "HF_TOKEN": 'of "the" hub',
    "WANDB_API_KEY": "0123456789abcdef",
    "TOKENIZERS_PARALLELISM": "sometimes",
}
OTHERS = {"OPENAI_KEY": "key-of-a-service", "GITHUB_PAT": "personal-access", "DB_PASSWORD": "tiger"}
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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("at github_pat_" + 30 * "a" + " and glpat-" + 20 * "b", "at *** and ***"),
        ("AKIA" + 16 * "A" + ", xoxe.xoxp-1-" + 20 * "b", "***, ***"),
        ("Bearer eyJhbGciOiJI.eyJzdWIiOiIx.abc_-D", "Bearer ***"),
        ("https://a-long-token@host/x", "https://***@host/x"),
        ("https://me@host/x", "https://me@host/x"),
        ("/x?access_token=abcdefgh&n=1&sig=abcdefghij", "/x?access_token=***&n=1&sig=***"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN ***-----END RSA PRIVATE KEY-----",
        ),
        ("a task-with-a-name, token_type_ids, max_new_tokens=60", ...),
    ],
)
def test_a_text_in_the_form_of_a_secret_is_hidden(text: str, told: object) -> None:
    assert hide_secrets(text) == (text if told is ... else told)


def test_secrets_of_other_names_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OTHERS.items():
        monkeypatch.setenv(name, value)
    assert hide_secrets(list(OTHERS.values())) == ["***", "***", "***"]
    assert hide_secrets({"api_keys": ["first-key", {"x": "second-key"}], "y": "first-key"}) == {
        "api_keys": ["***", {"x": "***"}],
        "y": "***",
    }


def test_what_is_noted_of_a_sweep_tells_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "of the hub")
    note_run(tmp_path, tmp_path / "run", ValueError("refused: of the hub"))
    assert json.loads((tmp_path / "runs.jsonl").read_text())["reason"] == "ValueError: refused: ***"
    hydra = {"job": {"num": 0, "env_set": {"API_KEY": "of-a-service"}}, "sweep": {"dir": "."}}
    words = {"overrides": {"task": ["+hydra.job.env_set.API_KEY=of-a-service", "seed=1,2"]}}
    content = OmegaConf.create({"hydra": {**hydra, **words}, "seed": "${x}"})
    OmegaConf.save(content, tmp_path / "multirun.yaml")
    monkeypatch.chdir(tmp_path)
    NoteSweep().on_job_start(content)
    written = (tmp_path / "multirun.yaml").read_text()
    assert "of-a-service" not in written
    assert OmegaConf.to_container(OmegaConf.load(tmp_path / "multirun.yaml")) == {
        "hydra": {
            "job": {"num": 0, "env_set": {"API_KEY": "***"}},
            "sweep": {"dir": "."},
            "overrides": {"task": ["+hydra.job.env_set.API_KEY=***", "seed=1,2"]},
        },
        "seed": "${x}",
    }


def test_files_whose_names_are_no_run_s_are_left_alone(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for name in (".replaced-", ".replaced-..", ".partial-...abc"):
        (runs / name).mkdir(parents=True)
    (runs / "failed-.json").write_text("{}")
    assert list(read_failures(tmp_path)) == []
    assert list_unfinished(runs) == []
    restore_all_replaced(tmp_path)
    assert len(list(runs.iterdir())) == 4

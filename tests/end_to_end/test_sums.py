"""A small Llama learns to add: trained on sums in words, then by pruned LoRA on another wording."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from exhaustive import EXHAUSTIVE
from forked import start_command
from sparsead.tasks.demo_sums import sums

WIDTHS = {"hidden_size": 64, "intermediate_size": 256, "num_key_value_heads": 4}
LENGTHS = ("task.max_length=24", "task.target_length=8", "task.generation.max_new_tokens=6")
COMMON = ("task=complete", *LENGTHS, "device=cpu", "precision=fp32", "protocol.batch_size=64")
WHOLE = "second/runs/.p*/checkpoint-*/checksums.json"
"""The file of a checkpoint that is written last."""
SITES = "query,key,value,attention_projection,ffn_input,ffn_projection"


def write_sums(folder: Path, wording: str) -> list[str]:
    """Write the generated sums in another wording, such as "47 and 38 make "."""
    word = wording.split()[1]
    for split in ("train", "validation", "test"):
        rows = sums(split)
        for row in rows:
            row["prompt"] = wording.format(*row["prompt"].removesuffix("=").split("+"))
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{word}-{split}.jsonl").write_text(lines, "utf-8")
    return [f"task.{split}={word}-{split}.jsonl" for split in ("train", "validation")]


def run(folder: Path, *words: str) -> str:
    done = start_command(words, folder).wait(1500)
    assert done.returncode == 0, done.stderr
    return done.stdout


def recorded(folder: Path, outputs: str) -> tuple[Path, dict[str, Any]]:
    (file,) = folder.glob(f"{outputs}/runs/[!.]*/result.json")
    return file.parent, json.loads(file.read_text("utf-8"))


@pytest.mark.skipif(not EXHAUSTIVE, reason="trains for minutes: SPARSEAD_EXHAUSTIVE=1")
def test_a_llama_learns_to_add_by_pruned_lora_through_a_kill_and_predicts(tmp_path: Path) -> None:
    shape = [f"backbone.architecture.{key}={value}" for key, value in WIDTHS.items()]
    full = ("adapter=full", "protocol.epochs=20", "protocol.learning_rate=3e-3", "outputs=first")
    files = write_sums(tmp_path, "{} and {} make ")
    run(tmp_path, "train", *COMMON, *files, "backbone=tiny-llama", *shape, *full)
    first, result = recorded(tmp_path, "first")
    assert result["scores"]["exact_match"] > 0.9
    run(tmp_path, "export", str(first), "adder", "--format", "transformers")

    lora = ("adapter=lora", "adapter.bottleneck=16", f"adapter.sites=[{SITES}]", "outputs=second")
    rates = ("protocol.epochs=10", "protocol.learning_rate=3e-3")
    pruned = ("pruner=snip", "sparsity=0.5", *lora, *rates)
    files = write_sums(tmp_path, "{} plus {} make ")
    command = ("train", *COMMON, *files, "backbone=./adder", *pruned)
    killed = start_command(command, tmp_path)
    while not killed.has_ended() and not list(tmp_path.glob(WHOLE)):
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not list(tmp_path.glob("second/runs/[!.]*"))
    run(tmp_path, *command)
    second, result = recorded(tmp_path, "second")
    assert result["resumed_from_epoch"] >= 1
    assert result["sparsity"]["realised"] == 0.5
    assert result["scores"]["exact_match"] > 0.8

    run(tmp_path, "predict", str(second), "--input", "plus-test.jsonl", "--output", "answers.jsonl")
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    right = [
        answer["prediction"] == row["completion"]
        for answer, row in zip(answers, sums("test"), strict=True)
    ]
    assert sum(right) / len(right) > 0.8

"""Generated texts: training for them, writing them to disk, and resuming."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from datasets import Dataset

from composing import ask_for, compose
from sparsead.runs.predictions import read_predictions
from sparsead.runs.request import RunRequest
from sparsead.train import train
from sparsead.training.generation import TextGenerator, generate_file, generation_config
from sparsead.training.prediction import format_json_lines

DOCUMENTS = [
    f"{name} went to {place} by train." for name in "ABCDEFGH" for place in ("Rome", "Oslo")
]


def request(folder: Path, *overrides: str) -> RunRequest:
    rows = [{"document": text, "summary": f"{text[0]} travels."} for text in DOCUMENTS]
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows), "utf-8"
        )
    return ask_for(
        "task=summarize",
        *(f"task.{split}={folder / split}.jsonl" for split in ("train", "validation", "test")),
        "task.generated_splits=[validation,test]",
        "task.generation.num_beams=2",
        "task.generation.max_new_tokens=12",
        "task.generation.min_new_tokens=2",
        "backbone=tiny-bart",
        "protocol.epochs=2",
        "protocol.batch_size=8",
        "protocol.eval_batch_size=3",
        "device=cpu",
        *overrides,
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.replace(b'"reference": "B', b'"reference": "C'),
        lambda content: content.replace(b'"prediction": "', b'"prediction": "x', 1),
        lambda content: content[:-9] + bytes(9),
        lambda _: format_json_lines([{"id": "99", "prediction": "a", "reference": "b"}]).encode(),
        lambda _: format_json_lines(
            2 * [{"id": "0", "prediction": "a", "reference": "b"}]
        ).encode(),
        lambda _: b"[]\t" + hashlib.sha256(b"[]").hexdigest()[:16].encode() + b"\n",
    ],
)
def test_texts_that_were_altered_are_generated_anew(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    rows = Dataset.from_dict({"id": list("012345"), "reference": list("ABCDEF")})
    generator = SimpleNamespace(
        batches=lambda *_: [[0, 1], [2, 3], [4, 5]], texts=lambda rows: rows["reference"][:]
    )
    file = tmp_path / "predictions-test.jsonl"
    generate_file(cast(TextGenerator, generator), rows, file)
    whole = file.read_bytes()
    file.write_bytes(damage(b"".join(whole.splitlines(keepends=True)[:4])))
    generate_file(cast(TextGenerator, generator), rows, file)
    assert file.read_bytes() == whole


def test_a_file_cut_after_its_rows_were_put_in_order_is_completed(tmp_path: Path) -> None:
    rows = Dataset.from_dict({"id": list("012345"), "reference": list("ABCDEF")})
    generated: list[str] = []

    def texts(batch: Dataset) -> list[str]:
        generated.extend(batch["id"])
        return list(batch["reference"])

    generator = SimpleNamespace(batches=lambda *_: [[5, 3], [1, 2], [4, 0]], texts=texts)
    file = tmp_path / "predictions-test.jsonl"
    generate_file(cast(TextGenerator, generator), rows, file)
    whole = file.read_bytes()
    assert generated == list("531240")
    generated.clear()
    file.write_bytes(b"".join(whole.splitlines(keepends=True)[:4]))
    generate_file(cast(TextGenerator, generator), rows, file)
    assert file.read_bytes() == whole
    assert generated == list("5340")  # the batch of 1 and 2 was complete


@pytest.mark.slow
def test_generation_goes_on_where_it_was_interrupted_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = train(request(tmp_path, f"outputs={tmp_path / 'one'}"))
    texts = TextGenerator.texts
    calls: list[int] = []

    def interrupted(generator: TextGenerator, rows: Dataset) -> list[str]:
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return texts(generator, rows)

    monkeypatch.setattr(TextGenerator, "texts", interrupted)
    again = request(tmp_path, f"outputs={tmp_path / 'two'}")
    with pytest.raises(KeyboardInterrupt):
        train(again)
    (half,) = (tmp_path / "two").glob("runs/.partial-*/predictions-test.jsonl")
    kept = half.read_bytes()
    assert kept.count(b"\n") == 6
    half.write_bytes(kept + b'{"id": "6", "prediction": "torn')
    calls[:] = [0] * 100
    resumed = train(again)
    assert len(calls) - 100 == 4
    assert resumed.result["resumed_from_epoch"] == 2
    for key in ("scores", "history", "sparsity"):
        assert resumed.result[key] == undisturbed.result[key], key
    for split in ("validation", "test"):
        files = [run.folder / f"predictions-{split}.parquet" for run in (undisturbed, resumed)]
        assert files[0].read_bytes() == files[1].read_bytes()
        predicted = read_predictions(resumed, split)
        assert list(predicted["id"]) == [str(n) for n in range(16)]
        assert predicted["reference"][0] == "A travels."
    assert not list(resumed.folder.glob("*.jsonl"))
    names = ["rouge2", "rouge1", "rougeL"]
    assert list(resumed.result["scores"]) == [*names, *(f"test_{name}" for name in names)]
    assert [epoch["scores"] for epoch in resumed.result["history"]] == [{}, {}]


def test_the_settings_are_those_of_the_task_and_the_tokens_those_of_the_backbone() -> None:
    from sparsead.backbones.loading import load_backbone
    from sparsead.tasks.text_to_text import TextToText

    model = load_backbone(compose("backbone=tiny-bart").backbone).model(TextToText.head, {}, 1)
    model.generation_config.num_beams = 9
    config = generation_config(model, {"max_new_tokens": 5})
    assert config.num_beams in (None, 1)
    assert (config.max_new_tokens, config.decoder_start_token_id) == (5, 2)


@pytest.mark.slow
def test_the_loss_falls_on_real_pairs(data_root: Path, tmp_path: Path) -> None:
    record = train(
        ask_for(
            "task=xsum",
            f"task.path={data_root / 'xsum'}",
            "task.limit=16",
            "task.max_length=128",
            "task.target_length=64",
            "task.generation.num_beams=1",
            "task.generation.max_new_tokens=12",
            "backbone=tiny-bart",
            f"outputs={tmp_path}",
            "protocol.epochs=6",
            "protocol.batch_size=4",
            "protocol.learning_rate=1e-2",
            "device=cpu",
        )
    )
    losses = [epoch["train_loss"] for epoch in record.result["history"]]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.1
    assert "rouge2" in record.result["scores"]

"""The cache of encoded splits: which changes it notices, and two processes at the same time."""

from __future__ import annotations

import importlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import Dataset, DatasetDict
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from composing import compose
from sparsead.backbones.loading import load_backbone
from sparsead.errors import ConfigError, DataError, SourceError
from sparsead.tasks.cache import encode_once, hold_out
from sparsead.tasks.contract import TASKS
from sparsead.tasks.text import TextTask

TEXT = "a,b,label\nOne two,three,yes\nFour,five,no\nSix,seven,yes\nEight,nine,no\n"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPARSEAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "encoded"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text(TEXT, "utf-8")
    return path


def tokenizer(name: str = "tiny-bert") -> PreTrainedTokenizerBase:
    return load_backbone(compose(f"backbone={name}").backbone).tokenizer


def test_a_notebook_sees_no_bars_of_datasets(
    file: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    datasets.enable_progress_bars()
    encode_once(text(file), tokenizer())
    assert capsys.readouterr().err == ""
    assert not datasets.are_progress_bars_disabled()


def text(file: Path, **options: Any) -> TextTask:
    given: dict[str, Any] = {
        "name": "text",
        "inputs": ["a", "b"],
        "labels": [],
        "metrics": [],
        "max_length": 64,
        "train": str(file),
        "validation": str(file),
    }
    return TextTask(**given | options)


def folders(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir() if path.is_dir()}


def refuse(*_: object) -> DatasetDict:
    raise AssertionError("tokenised again")


def test_the_numbers_of_tokens_may_have_gaps(cache: Path, file: Path) -> None:
    vocabulary = {"[UNK]": 90, "[PAD]": 0}
    words = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    splits, _ = encode_once(
        text(file), PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]")
    )
    assert 90 in splits["train"]["input_ids"][0]


def test_a_second_request_tokenises_nothing_and_gives_the_same(
    cache: Path, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, said = encode_once(text(file), tokenizer())
    monkeypatch.setattr(TextTask, "encode", refuse)
    moved = file.rename(file.with_name("moved.csv"))
    with caplog.at_level("DEBUG"):
        second, said_again = encode_once(text(moved), tokenizer())
    assert {split: rows[:] for split, rows in first.items()} == {
        split: rows[:] for split, rows in second.items()
    }
    assert said == said_again
    assert "tokenised before, read from the cache in" in caplog.text


def test_what_the_tokenizer_did_before_does_not_matter(cache: Path, file: Path) -> None:
    used = tokenizer()
    used("some text", truncation=True, max_length=5, padding="max_length")
    encode_once(text(file), used)
    encode_once(text(file), tokenizer())
    assert len(folders(cache)) == 1


def test_a_task_of_ones_own_may_have_keys_of_several_types(cache: Path, file: Path) -> None:
    for weights in ({1: 2, "a": 3, ("b", 1): 4}, {1: 2, "a": 3, ("b", 1): 5}):
        own = text(file)
        vars(own)["weights"] = [weights]
        encode_once(own, tokenizer())
    assert len(folders(cache)) == 2


@pytest.mark.slow
def test_a_change_of_rows_options_or_tokenizer_is_noticed(cache: Path, file: Path) -> None:
    encode_once(text(file), tokenizer())
    encode_once(text(file), tokenizer("tiny-roberta"))
    encode_once(text(file, max_length=8), tokenizer())
    encode_once(text(file, inputs=["b", "a"]), tokenizer())
    encode_once(text(file), tokenizer(), selection=0.3)
    file.write_text(TEXT.replace("seven", "sevem"), "utf-8")
    encode_once(text(file), tokenizer())
    assert len(folders(cache)) == 6


def test_two_at_once_tokenise_once(
    cache: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[TextTask] = []
    encode = TextTask.encode

    def counted(task: TextTask, *given: Any) -> DatasetDict:
        calls.append(task)
        return encode(task, *given)

    monkeypatch.setattr(TextTask, "encode", counted)
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(encode_once, text(file), tokenizer()) for _ in range(4)]
    assert len({str(job.result()[0]["train"][:]) for job in jobs}) == 1
    assert len(calls) == 1
    assert len(folders(cache)) == 1


def test_a_failure_leaves_no_half_of_a_folder(
    cache: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(DatasetDict, "save_to_disk", full)
        with pytest.raises(SourceError, match=r"No space left on device.*SPARSEAD_CACHE"):
            encode_once(text(file), tokenizer())
    assert folders(cache) == set()
    encode_once(text(file), tokenizer())


def test_an_error_of_the_task_is_not_the_caches(
    cache: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> DatasetDict:
        raise ValueError("three of these")

    monkeypatch.setattr(TextTask, "encode", fail)
    with pytest.raises(ValueError, match=r"^three of these$"):
        encode_once(text(file), tokenizer())


def test_a_split_without_examples_is_named(
    cache: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = TextTask.encode

    def empty(*given: Any) -> DatasetDict:
        splits = encode(*given)
        return DatasetDict({**splits, "validation": splits["validation"].select([])})

    monkeypatch.setattr(TextTask, "encode", empty)
    with pytest.raises(DataError, match="validation: has no examples"):
        encode_once(text(file), tokenizer())


def test_an_edited_helper_of_the_task_is_noticed(
    cache: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "own_tasks"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "helper.py").write_text("LENGTH = 1")
    (package / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from sparsead.tasks.text import TextTask\n"
        "@dataclass(frozen=True)\n"
        "class Mine(TextTask):\n"
        "    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    made = importlib.import_module("own_tasks.mine").Mine
    options = vars(text(file))
    encode_once(made(**options), tokenizer())
    (package / "helper.py").write_text("LENGTH = 2")
    encode_once(made(**options), tokenizer())
    assert len(folders(cache)) == 2


def test_lengths_cuts_and_classes_are_said(
    cache: Path, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        _, report = encode_once(text(file, max_length=12), tokenizer())
    lengths = [len(tokenizer()(*pair)["input_ids"]) for pair in PAIRS]
    cut = sum(length > 12 for length in lengths)
    assert 0 < cut < 4
    assert report["train"]["examples"] == 4
    assert report["train"]["tokens"]["max"] == max(lengths)
    assert report["train"]["counts"] == {"cut": cut}
    assert report["train"]["classes"] == {"no": 2, "yes": 2}
    assert f"longest kept 12; {cut} cut; no 50.0 %; yes 50.0 %" in caplog.text


def test_what_a_task_flags_is_counted_and_not_kept(
    cache: Path, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    encode = TextTask.encode

    def flagged(*args: Any) -> DatasetDict:
        return DatasetDict(
            {
                split: rows.add_column("target_cut", [True, False, True, True])
                for split, rows in encode(*args).items()
            }
        )

    monkeypatch.setattr(TextTask, "encode", flagged)
    for _ in range(2):
        caplog.clear()
        with caplog.at_level("DEBUG"):
            splits, report = encode_once(text(file), tokenizer())
        assert report["train"]["counts"] == {"target_cut": 3, "cut": 0}
        assert "3 target cut; none cut" in caplog.text
    assert not {"target_cut", "whole_length"} & set(splits["train"].column_names)


PAIRS = [("One two", "three"), ("Four", "five"), ("Six", "seven"), ("Eight", "nine")]


def test_the_selection_split_is_a_tenth_of_train_and_the_own_one_is_kept() -> None:
    spec = compose("task=demo_rte").task
    rows = TASKS.bind(spec.method, spec.arguments())().load()
    parts = hold_out(rows, 0.1)
    assert {split: len(part) for split, part in parts.items()} == {
        "train": 1440,
        "validation": 160,
        "test": 300,
    }
    assert parts["test"][:] == rows["validation"][:]
    together = [*parts["train"]["idx"], *parts["validation"]["idx"]]
    assert sorted(together) == rows["train"]["idx"][:]
    assert parts["validation"]["idx"][:] == hold_out(rows, 0.1)["validation"]["idx"][:]
    assert parts["validation"]["idx"][:] != rows["train"]["idx"][-160:]


def test_a_test_set_that_selection_would_leave_out_is_refused() -> None:
    rows = Dataset.from_dict({"source": ["a", "b", "c"]})
    with pytest.raises(ConfigError, match=r"protocol\.selection=0\.1: scores validation, not test"):
        hold_out(DatasetDict(train=rows, validation=rows, test=rows), 0.1)
    with pytest.raises(ConfigError, match="one training example cannot be split"):
        hold_out(DatasetDict(train=rows.take(1), validation=rows), 0.1)


@pytest.mark.slow
def test_any_altered_byte_of_the_cache_is_noticed_and_tokenised_anew(
    cache: Path, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, report = encode_once(text(file), tokenizer())
    expected = {split: rows.to_list() for split, rows in whole.items()}
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        for at in (0, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            caplog.clear()
            splits, again = encode_once(text(file), tokenizer())
            assert {split: rows.to_list() for split, rows in splits.items()} == expected
            assert again == report
            assert "was altered (its checksums do not match); it is tokenised anew" in caplog.text
    caplog.clear()
    assert encode_once(text(file), tokenizer())[1] == report
    assert "was altered" not in caplog.text

"""README.md and docs/: each command is understood, each block runs, each link leads somewhere."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from document_blocks import (
    NAMED,
    PAGES,
    ROOT,
    Block,
    blocks_of,
    commands_of,
    furnish,
    publish,
    quicken,
    sparsead_words,
)
from exhaustive import EXHAUSTIVE
from sparsead.cli import verbs
from sparsead.commands.completion import complete
from stand_in_hub import StandInHub

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_TROUBLE = ROOT / "docs" / "troubleshooting.md"
exhaustive = pytest.mark.skipif(not EXHAUSTIVE, reason="trains for minutes: SPARSEAD_EXHAUSTIVE=1")


def _name(page: Path) -> str:
    return page.name


def test_every_command_of_the_documents_has_known_verbs_and_choices() -> None:
    for page in PAGES:
        for verb, *words in sparsead_words(page):
            where = f"{page.name}: sparsead {verb} {' '.join(words)}"
            assert verb in [*verbs(), "--help", "--version", "help"], where
            for word in words:
                group, _, choices = word.partition("=")
                own = "my_conf" in words or "./" in word or "*" in word
                if group in ("adapter", "pruner", "task", "backbone", "protocol") and not own:
                    for choice in choices.split(","):
                        assert f"{group}={choice}" in complete(f"sparsead train {group}="), where


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in _LINK.findall(page.read_text("utf-8")):
        target, _, anchor = link.partition("#")
        if target.startswith(("http:", "https:")):
            continue
        file = page if not target else page.parent / target
        assert file.exists(), link
        if anchor:
            assert anchor in {_slug(line) for line in file.read_text("utf-8").splitlines()}, link


def _slug(line: str) -> str | None:
    if not line.startswith("#"):
        return None
    return re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")


def test_the_worked_example_of_the_statistics_prints_what_it_says() -> None:
    names: dict[str, Any] = {}
    printed: str | None = None
    checked = 0
    for block in blocks_of(ROOT / "docs" / "protocol.md"):
        if block.kind == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(block.text, names)
            printed = out.getvalue()
        elif block.kind == "text":
            assert block.text == printed
            checked += 1
    assert checked == 2


def test_each_message_of_the_troubleshooting_page_is_one_that_is_printed() -> None:
    source = "".join(path.read_text("utf-8") for path in (ROOT / "sparsead").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # literals that are joined
    quoted = [
        message
        for line in _TROUBLE.read_text("utf-8").splitlines()
        if line.startswith("| ")
        for message in re.findall(r"`([^`]+)`", line.split(" | ")[0])
    ]
    assert len(quoted) > 40
    for message in quoted:
        for part in re.split(r"…|\b[A-Z]{3,}\b|[=():;]", message):
            assert part.strip(" ?,") in source, message


@pytest.mark.slow
def test_the_architecture_of_the_page_takes_adapters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForSequenceClassification, ErnieConfig

    from sparsead.adapters.contract import ADAPTERS
    from sparsead.backbones import architectures as package
    from sparsead.backbones.contract import architectures

    (block,) = [b for b in blocks_of(ROOT / "docs" / "extending.md") if "ernie" in (b.title or "")]
    (tmp_path / "ernie.py").write_text(block.text, "utf-8")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    architectures.cache_clear()
    small: dict[str, Any] = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    config = ErnieConfig(vocab_size=60, num_hidden_layers=2, **small)
    for method, sites in (("bottleneck", ["attention_output", "ffn_output"]), ("lora", ["query"])):
        model = AutoModelForSequenceClassification.from_config(config)
        options = {"bottleneck": 4, "sites": sites}
        adapted = ADAPTERS.bind(method, options)().insert(model, 1)
        assert len(adapted.prunable) == 2 * len(sites) * 2
        assert model(input_ids=torch.tensor([[1, 2, 3]])).logits.shape == (1, 2)
    architectures.cache_clear()


def test_only_what_needs_gpus_or_a_cluster_is_not_run() -> None:
    reasons = {block.reason for page in PAGES for block in blocks_of(page) if not block.runs}
    assert reasons <= {"needs SLURM", "needs GPUs", "needs a Ray cluster", "needs Kubernetes"}


@exhaustive
@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_block_of_a_page_runs(page: Path, tmp_path: Path, hub: StandInHub) -> None:
    """Each command runs as it stands, but with a tiny backbone, and each file is written first."""
    blocks = [block for block in blocks_of(page) if block.runs]
    if not blocks:
        pytest.skip("has no code")
    if page.name == "tracking.md":
        pytest.importorskip("tensorboard", reason="the page is about it, and it is no dependency")
    furnish(tmp_path)
    publish(hub)
    for block in blocks:
        if block.title and not block.title.startswith("sparsead/"):
            file = tmp_path / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, "utf-8")
    runs = _train_named(tmp_path, blocks)
    script = "\n".join(b.text for b in blocks if b.kind == "python" and not b.title)
    for block in blocks:
        for command in commands_of(block):
            if "sparsead" in command:
                _run(tmp_path, quicken(command[command.index("sparsead") + 1 :], runs))
            elif "sparsead.train" in command:
                _run_in_processes(tmp_path, command)
            elif "pytest" in command:
                _test_few_faults(command)
    if script:
        _python(tmp_path, script)


def _train_named(folder: Path, blocks: list[Block]) -> dict[str, str]:
    """Train the runs that the commands of a page name; return their folders."""
    typed = " ".join(word for block in blocks for words in commands_of(block) for word in words)
    return {
        name: _run(folder, quicken(["train", "--quiet", *words], {})).strip()
        for name, words in NAMED.items()
        if re.search(rf"\b{name}\b", typed)
    }


def _run_in_processes(folder: Path, command: list[str]) -> None:
    """Run what torchrun or accelerate starts: two processes, and one for accelerate on a CPU."""
    starter, *others = command
    words = quicken(["train", *others[others.index("sparsead.train") + 1 :]], {})[1:]
    few = {
        "torchrun": ["--nproc-per-node", "2"],
        "accelerate": ["launch", "--cpu", "--num_processes", "1"],
    }[starter]
    own = {"torchrun": "seed=1", "accelerate": "seed=2"}[starter]
    script = str(Path(sys.executable).with_name(starter))
    _call(folder, [script, *few, "-m", "sparsead.train", *words, own])


def _test_few_faults(command: list[str]) -> None:
    """Run the tests of faults that a page names, with as few faults as they have."""
    words = command[command.index("pytest") + 1 :]
    few = {"SPARSEAD_KILLS": "1", "SPARSEAD_TAKEOVERS": "1", "SPARSEAD_EXHAUSTIVE": ""}
    _call(ROOT, [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words], **few)


def _run(folder: Path, words: list[str]) -> str:
    return _call(folder, [str(Path(sys.executable).with_name("sparsead")), *words])


def _python(folder: Path, script: str) -> None:
    _call(folder, [sys.executable, "-c", script])


def _call(folder: Path, words: list[str], **environ: str) -> str:
    done = subprocess.run(
        words,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])} | environ,
        capture_output=True,
        text=True,
        timeout=3600,
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stderr}{done.stdout}"
    return done.stdout

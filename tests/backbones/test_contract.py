"""The entries of the architectures: read without torch, and consistent where they share names."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from dataclasses import fields

import pytest

from sparsead.backbones.contract import Sites, architectures


def test_the_entries_are_read_without_torch() -> None:
    check = (
        "import sys; from sparsead.backbones.contract import architectures; architectures();"
        "print({'torch', 'transformers', 'tokenizers'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr


def test_reports_call_a_module_by_one_name_whichever_architecture_has_it() -> None:
    names = defaultdict(set)
    for entry in architectures().values():
        for pattern, name in entry.site_names().items():
            names[pattern].add(name)
    assert {pattern: found for pattern, found in names.items() if len(found) > 1} == {}


def test_what_is_said_to_be_absent_is() -> None:
    sites = {field.name for field in fields(Sites)}
    for entry in architectures().values():
        assert {*entry.absent, *entry.named_sites} <= sites
        assert not any(getattr(entry.sites, site) for site in entry.absent), entry.model_type


@pytest.mark.parametrize(
    ("model_type", "module", "has"),
    [
        ("bert", "bert.encoder.layer.11.attention.self.query", True),
        ("bert", "encoder.layer.0.output.dense", True),
        ("bert", "bert.encoder.layer.0.attention.output.dense.more", False),
        ("bert", "classifier", False),
        ("gpt2", "bert.encoder.layer.0.output.dense", False),
    ],
)
def test_an_entry_knows_its_modules_with_and_without_their_model(
    model_type: str, module: str, has: bool
) -> None:
    assert architectures()[model_type].has(module) is has

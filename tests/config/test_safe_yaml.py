"""The one reader of YAML files: a file of the user's own that cannot be used is one clear error."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsead.config.safe_yaml import load_yaml, read_mapping
from sparsead.errors import ConfigError


def test_a_mapping_that_is_merged_before_it_is_read_itself_has_each_key_once() -> None:
    text = "b: &b {label: z, k: 1}\nx:\n  deep: &a {<<: *b, label: b}\nc: {<<: *a, q: 1}\n"
    assert load_yaml(text)["c"] == {"label": "b", "k": 1, "q": 1}


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "null\n"])
def test_an_empty_file_has_no_keys(tmp_path: Path, text: str) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(text)
    assert read_mapping(file) == {}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"- a\n", "must have keys and values"),
        (b"3\n", "must have keys and values"),
        (b"a: [\n", r"cannot be read \(.*line 2"),
        (b"a: 1\na: 2\n", r"cannot be read \(the key a is given a second time in line 2\)"),
        (b"a: \xe9\n", r"cannot be read \('utf-8' codec"),
        (b"a: !!bool x\n", r"cannot be read \(a value is not of the type that its tag names\)"),
        (b"a: !!int ''\n", r"cannot be read \(a value is not of the type that its tag names\)"),
        (b"a: !!timestamp x\n", r"cannot be read \(a value is not of the type that its tag"),
        (b"a: !!python/name:os.system\n", r"cannot be read \(could not determine a construct"),
    ],
)
def test_a_file_without_keys_and_values_is_refused_in_one_line(
    tmp_path: Path, content: bytes, said: str
) -> None:
    file = tmp_path / "own.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"own.yaml: {said}") as error:
        read_mapping(file)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read \(.*No such file"):
        read_mapping(tmp_path / "none.yaml")

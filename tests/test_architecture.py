"""The packages and their layers are those that the documents and the import contracts name."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
MOST_MODULES_AT_THE_ROOT = 8


def layers() -> list[set[str]]:
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    (contract,) = (each for each in contracts if each["type"] == "layers")
    return [
        {name.strip().removeprefix("sparsead.") for name in row.split("|")}
        for row in contract["layers"]
    ]


def test_the_page_on_the_architecture_draws_the_layers_of_the_contract() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    (drawing,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    drawn = [
        {name.strip() for name in re.split(r"\s{2,}", line)[0].split("|")}
        for line in drawing.splitlines()
    ]
    assert drawn == layers()


def test_every_room_has_a_layer_and_none_of_them_an_exception() -> None:
    package = ROOT / "sparsead"
    modules = {file.stem for file in package.glob("*.py")} - {"__init__", "__main__"}
    folders = {file.parent.name for file in package.glob("*/__init__.py")} - {"conf"}
    assert modules | folders == set().union(*layers())
    assert len(list(package.glob("*.py"))) <= MOST_MODULES_AT_THE_ROOT
    for contract in PROJECT["tool"]["importlinter"]["contracts"]:
        assert "ignore_imports" not in contract


def test_every_file_that_the_page_names_is_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    for name in re.findall(r"`([\w/]+\.(?:py|md|toml))`", page):
        found = [ROOT / name, ROOT / "sparsead" / name, *(ROOT / "sparsead").glob(f"*/{name}")]
        assert any(file.is_file() for file in found), name


def defined_name(node: ast.AST) -> str:
    """Return the name that a node of a syntax tree gives to a function, class or value."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.Name(id=name, ctx=ast.Store()):
            return name
        case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
            return name
    return ""


def reached_names(node: ast.AST) -> list[str]:
    """Return the names that a node refers to: imports, attributes, and strings as for setattr."""
    match node:
        case ast.ImportFrom(names=names):
            return [alias.name for alias in names]
        case ast.Attribute(attr=name):
            return [name]
        case ast.Constant(value=str(text)):
            return text.split(".")
    return []


def nodes_in(folder: str) -> Iterator[tuple[Path, ast.AST]]:
    for file in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            yield file, node


def test_no_test_imports_reads_or_patches_a_private_name_of_the_code() -> None:
    defined = {defined_name(node) for _, node in nodes_in("sparsead")}
    private = {name for name in defined if name.startswith("_") and name.strip("_")}
    private -= {name for name in private if name.endswith("__")}
    assert private
    reached = {
        f"{file.relative_to(ROOT)}: {name}"
        for file, node in nodes_in("tests")
        for name in private.intersection(reached_names(node))
    }
    assert reached == set()

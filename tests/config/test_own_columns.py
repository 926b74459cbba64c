"""`task.inputs` and `task.label` of questions, summaries and translations."""

from __future__ import annotations

import pytest

from composing import compose
from sparsead.errors import ConfigError
from sparsead.runs.identity import compute_identity
from sparsead.runs.options import check_options

BY_PARTS: dict[str, tuple[str, str, dict[str, str | None]]] = {
    "qa": ("[q,c]", "a", {"id": "id", "question": "q", "context": "c", "answers": "a"}),
    "summarize": ("[text.en]", "short", {"id": None, "source": "text.en", "target": "short"}),
    "translate": ("[ro]", "en", {"id": None, "source": "ro", "target": "en"}),
}


@pytest.mark.parametrize("choice", BY_PARTS)
def test_the_columns_are_named_as_those_of_other_data(choice: str) -> None:
    inputs, label, columns = BY_PARTS[choice]
    given = (f"task={choice}", "backbone=tiny-bart", "task.hub=owner/set")
    named = compose(*given, f"task.inputs={inputs}", f"task.label={label}")
    assert named.task.options["columns"] == columns
    each = [f"task.columns.{part}={column or 'null'}" for part, column in columns.items()]
    assert compute_identity(compose(*given, *each)) == compute_identity(named)
    assert not {"inputs", "label"} & {*compose(*given).task.options}


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (
            ["task=qa", "task.inputs=[q]"],
            r"task.inputs=\[q\]: must name as many columns of text as",
        ),
        (["task=translate", "task.inputs=[a,b]"], r"as many .* as task.inputs=\[src\] does"),
        (["task=translate", "task.inputs=ro"], "task.inputs=ro: must be a list of texts"),
        (["task=qa", "task.inputs=[q,c]", "task.columns.question=x"], "names the column q, and"),
        (["task=qa", "task.label=a", "task.columns.answers=x"], "task.label: names the column a"),
        (["task=qa", "task.inputs=[q,q]"], "names the column q twice"),
        (["task=translate", "task.label=src"], "names the column src twice"),
        (["task=qa", "task.columns.context=null"], "task.columns.context: name the column"),
    ],
)
def test_columns_that_cannot_be_are_refused(overrides: list[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        check_options(compose(*overrides))


@pytest.mark.parametrize("choice", ["summarize", "text"])
@pytest.mark.parametrize("family", ["nosuch", "demo_mrpc", "../base_glue", "sumarize"])
def test_a_family_that_is_none_is_refused(choice: str, family: str) -> None:
    said = rf"task\.family={family}: no such choice.*\(allowed: complete, qa, summarize, text, tr"
    with pytest.raises(ConfigError, match=said):
        compose(f"task={choice}", f"task.family={family}", "task.inputs=[a]", "task.hub=owner/set")

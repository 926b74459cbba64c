from __future__ import annotations

import pytest

from composing import compose
from hub_files import BERT, RTE
from sparsead.errors import ConfigError, SourceError
from sparsead.hub.commits import forget_commits
from sparsead.runs.identity import compute_identity
from sparsead.runs.sources import check_unchanged, describe_sources, list_sources, pin_revisions
from stand_in_hub import StandInHub

RUN = ("backbone=bert-base", "task=rte")
FILES = {"config.json": b"{}"}


def test_what_a_run_reads_from_the_hub(glue_fixture: object) -> None:
    named = [str(source) for source in list_sources(compose(*RUN))]
    assert named == [BERT, f"{RTE}/rte"]
    assert list_sources(compose()) == []
    assert [str(s) for s in list_sources(compose("task=mrpc", f"task.path={glue_fixture}"))] == []
    (xsum,) = list_sources(compose("task=xsum", "backbone=tiny-bart"))
    assert (xsum.name, xsum.revision) == ("EdinburghNLP/xsum", "refs/convert/parquet")


@pytest.mark.slow
def test_a_branch_becomes_its_commit_and_counts_in_the_identity(hub: StandInHub) -> None:
    commit = hub.commit("models", BERT, FILES)
    branch = pin_revisions(compose(*RUN, "backbone.revision=main"))
    assert branch.backbone.revision == commit
    assert branch == pin_revisions(compose(*RUN, f"backbone.revision={commit}"))
    assert pin_revisions(compose(*RUN)) == compose(*RUN)
    others = [compose(*RUN), compose(*RUN, f"backbone.revision={'0' * 40}")]
    data = [compose(*RUN, f"task.revision={digit * 40}") for digit in "01"]
    assert len({compute_identity(spec) for spec in (branch, *others, *data)}) == 5
    with pytest.raises(SourceError, match=r"has no revision v9 on the hub"):
        pin_revisions(compose(*RUN, "backbone.revision=v9"))


def test_a_record_of_before_the_hub_changed_is_not_returned(hub: StandInHub) -> None:
    spec = compose(*RUN)
    old = hub.commit("models", BERT, FILES)
    data = hub.commit("datasets", RTE, {"README.md": b""})
    result = {"sources": describe_sources(spec, {})}
    assert result["sources"]["task"] == {"hub": RTE, "config": "rte", "commit": data}
    check_unchanged(spec, result)
    check_unchanged(spec, {})
    new = hub.commit("models", BERT, {"config.json": b"{ }"})
    forget_commits()
    choice = (
        f"backbone.revision={old} reads the recorded commit, backbone.revision={new} the present"
    )
    with pytest.raises(ConfigError, match=rf"{BERT}: has changed on the hub .*; {choice}"):
        check_unchanged(spec, result)
    check_unchanged(compose(*RUN, f"backbone.revision={old}"), result)

"""Whether a run's sources can be had at all, told before anything slow is imported."""

from __future__ import annotations

from collections.abc import Iterable

from sparsead.hub.commits import cached_commit, find_commit, resolve
from sparsead.hub.failures import refuse
from sparsead.hub.models import is_cached as is_model_cached
from sparsead.hub.sources import Source


def check_reachable(sources: Iterable[Source]) -> None:
    """Refuse a source that the hub does not give and that its cache does not hold.

    Raises:
        SourceError: there is one; the message says why the hub does not give it.
    """
    for source in sources:
        find_commit(source)
        failure = resolve(source).failure
        if failure is not None and not is_cached(source):
            raise refuse(source, failure)


def is_cached(source: Source) -> bool:
    """Tell whether the cache holds a model or a data set as a whole; the hub is not asked."""
    commit = cached_commit(source)
    if commit is None:
        return False
    if source.kind == "model":
        return is_model_cached(source, commit)
    from sparsead.hub.rows import is_cached as are_rows_cached  # imports datasets

    return are_rows_cached(source, commit)

"""Tell whether a run's sources can be obtained, before anything slow is imported."""

from __future__ import annotations

from collections.abc import Iterable

from sparsead.hub.sources import Source


def check_reachable(sources: Iterable[Source]) -> None:
    """Refuse a source that the hub does not give and that its cache does not hold.

    Raises:
        SourceError: there is one; the message says why the hub does not give it.
    """
    for source in sources:
        # imports the hub's client, which takes longer than all else that a run without it needs
        from sparsead.hub.commits import find_commit, resolve
        from sparsead.hub.failures import build_source_error

        find_commit(source)
        failure = resolve(source).failure
        if failure is not None and not is_cached(source):
            raise build_source_error(source, failure)


def is_cached(source: Source) -> bool:
    """Tell whether the cache holds a model or a data set as a whole; the hub is not asked."""
    from sparsead.hub.commits import cached_commit

    commit = cached_commit(source)
    if commit is None:
        return False
    if source.kind == "model":
        from sparsead.hub.models import is_cached as is_model_cached

        return is_model_cached(source, commit)
    from sparsead.hub.rows import is_cached as are_rows_cached  # imports datasets

    return are_rows_cached(source, commit)

"""Notes below a table: runs that read different commits of one model or data set of the hub."""

from __future__ import annotations

from collections import Counter, defaultdict

from sparsead.errors.display import pluralize
from sparsead.report.results import Results

_READ = {"backbone": "weights", "task": "rows"}


def notes_of_sources(results: Results) -> list[str]:
    """Say for each model and data set of which the table's runs read more than one commit."""
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    records = [r for measured in results.places.values() for r in measured.records.values()]
    for record in records:
        for group, source in record.result.get("sources", {}).items():
            if group in _READ and source.get("commit"):
                name = "/".join(filter(None, (source.get("hub"), source.get("config"))))
                found[group, name][source["commit"][:8]] += 1
    return [
        f"{name}: {_count(commits)}: differences between these runs may come from the "
        f"{_READ[group]}; {group}.revision=COMMIT reads the same in all of them."
        for (group, name), commits in found.items()
        if len(commits) > 1
    ]


def _count(commits: Counter[str]) -> str:
    each = (f"{pluralize(runs, 'run')} of commit {commit}" for commit, runs in commits.items())
    return " and ".join(each)

"""Publishing an exported folder as a repository on the hub."""

from __future__ import annotations

import json
from pathlib import Path

from sparsead.errors import ConfigError, SourceError
from sparsead.errors.display import one_line
from sparsead.hub.failures import describe_known
from sparsead.hub.quiet import quiet_clients
from sparsead.hub.sources import model_source

_LOCAL = "base"
"""A folder with links to the backbone's files, which mean nothing elsewhere."""


def check_repository(name: str) -> None:
    """Refuse what cannot be the name of a repository on the hub, before anything is written.

    Raises:
        ConfigError: the message says what a name must be.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(f"--push {name}: {one_line(str(error))}") from error


def publish(folder: Path, repository: str, base: str | None, commit: str | None) -> None:
    """Upload an exported folder to a repository on the hub, which is created where necessary.

    The folder keeps its configuration; the uploaded one names the backbone by its name on the hub.

    Args:
        folder: the exported folder.
        repository: its name on the hub, such as "me/my-adapter".
        base: the backbone's name on the hub; None if it has none.
        commit: the backbone's commit there, from which the run read it; None if it is not known.

    Raises:
        SourceError: the hub cannot be reached or refuses the upload; the folder stays.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    operations = [
        CommitOperationAdd(str(file.relative_to(folder)), _content(file, base, commit))
        for file in files
        if file.relative_to(folder).parts[0] != _LOCAL
    ]
    try:
        with quiet_clients():
            api = HfApi()
            api.create_repo(repository, exist_ok=True)
            api.create_commit(repository, operations, commit_message="Upload from sparsead")
    except Exception as error:  # the clients raise errors of several packages
        known = describe_known(error, model_source(repository, None))
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SourceError(
            f"--push {repository}: was not published ({said if known is None else known.reason}); "
            f"HF_TOKEN has to hold a token that may write there. {folder} is complete"
        ) from error


def _content(file: Path, base: str | None, commit: str | None) -> bytes:
    content = file.read_bytes()
    if file.name != "adapter_config.json":
        return content
    config = json.loads(content)
    if "base_model_name_or_path" in config:
        config |= {"base_model_name_or_path": base} | ({"revision": commit} if commit else {})
    return json.dumps(config, indent=2).encode()

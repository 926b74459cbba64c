"""What all exports share, and the export to transformers: a run merged into its backbone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from sparsead.config.groups import BackboneSpec
from sparsead.errors import ConfigError, RecordError, SourceError
from sparsead.pruning.storage import StoredAdapter, check_config, load_weights
from sparsead.runs.files import check_new, file_digest
from sparsead.runs.query import check_trusted_run
from sparsead.runs.record import RunRecord

if TYPE_CHECKING:
    from sparsead.adapters.adapted import AdaptedModel


class Exporter(Protocol):
    """A function that writes a finished run as a folder which another library loads."""

    def __call__(
        self,
        record: RunRecord,
        folder: Path,
        trust: Sequence[str] = (),
        backbone: Path | None = None,
        /,
    ) -> None:
        """Write the folder, which is complete or absent afterwards.

        Args:
            record: the run.
            folder: a new folder.
            trust: packages whose code the record may name.
            backbone: folder of the backbone; None takes the one that the run was trained on.

        Raises:
            ConfigError: the library cannot compute what the run computes, `folder` exists already,
                or the backbone's folder does not exist.
            RecordError: the run's weights cannot be read, or `folder` cannot be written.
            SourceError: the backbone cannot be loaded, or is not the one that the run was trained
                on.
        """


def export_merged(
    record: RunRecord, folder: Path, trust: Sequence[str] = (), backbone: Path | None = None
) -> None:
    """Write a run's model, with the adapter merged into its weights, and its tokenizer.

    transformers loads the folder like any other model. Arguments and errors are those of
    `Exporter`.
    """
    check_new("", folder)
    from sparsead.adapters.merging import merge  # imports torch, which is slow; only needed here
    from sparsead.assembly.trained import load
    from sparsead.backbones.loading import build_skeleton
    from sparsead.training.quiet import quiet_libraries

    quiet_libraries()
    find_backbone(record, backbone, {})
    run = load(record.folder, backbone=backbone, trust=trust)
    merge(run.model)
    plain = build_skeleton(run.spec.backbone, run.task.head, run.task.head_options).state_dict()
    left = [name for name in run.model.state_dict() if name not in plain]
    if left:
        raise ConfigError(
            f"{record.folder}: adapter={run.spec.adapter.name} cannot be merged: {left[0]} is not "
            "part of a linear change of one of the backbone's weights, such as LoRA's"
        )
    with new_folder(folder) as staging:
        run.model.save_pretrained(staging)
        run.tokenizer.save_pretrained(staging)


def read_run(
    record: RunRecord, folder: Path, trust: Sequence[str], backbone: Path | None
) -> tuple[StoredAdapter, str | None]:
    """Return a run's weights and the folder of its backbone.

    Whether code is trusted, whether the target is new, and whether weights and configuration agree
    is checked first.
    """
    check_trusted_run(record, trust)
    check_new("", folder)
    stored = load_weights(record)
    check_config(record, stored)
    return stored, find_backbone(record, backbone, stored.metadata.get("backbone", {}))


def rebuild_skeleton(record: RunRecord, backbone: Path | None) -> AdaptedModel:
    """Return the run's model without weights; it has the names, shapes and configuration.

    Raises:
        ConfigError: the record names an option, a method or a folder that does not exist.
        RecordError: the recorded values cannot be used together.
    """
    from sparsead.assembly.build import build_adapter, build_task, insert_adapter
    from sparsead.assembly.trained import recorded_spec, translate_rebuild_errors
    from sparsead.backbones.loading import build_skeleton
    from sparsead.training.quiet import quiet_libraries

    quiet_libraries()
    spec = recorded_spec(record, backbone)
    with translate_rebuild_errors(record):
        task = build_task(spec)
        model = build_skeleton(spec.backbone, task.head, task.head_options)
        return insert_adapter(spec, build_adapter(spec), model)


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file, and the folder that it is in."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(values, indent=2) + "\n", "utf-8")


def base_model(backbone: Mapping[str, Any]) -> str | None:
    """Return the folder or hub name from which peft loads the base model; None if it is random."""
    named: str | None = backbone["path"] or backbone["hub"]
    if named or not backbone["package"]:
        return named
    from sparsead.backbones.loading import load_backbone  # imports torch; rarely needed

    return str(load_backbone(BackboneSpec(**backbone)).folder)


def find_backbone(
    record: RunRecord, given: Path | None, trained_on: Mapping[str, str]
) -> str | None:
    """Return the absolute path of the backbone's folder; None if it is in no folder of the user's.

    Args:
        record: the run.
        given: the folder that the user names, if any.
        trained_on: SHA-256 of the weights files that the run was trained on, by name.
    """
    named = given or record.result["config"]["backbone"]["path"]
    if named is None:
        return None
    folder = Path(named).absolute()
    if not folder.is_dir():
        raise ConfigError(
            f"{record.folder}: backbone.path={named}: is not a folder here; name it with "
            "--backbone FOLDER"
        )
    if trained_on:
        _check_trained_on(record, folder, trained_on)
    return str(folder)


def _check_trained_on(record: RunRecord, folder: Path, trained_on: Mapping[str, str]) -> None:
    from sparsead.backbones.folders import own_folder  # imports torch

    weights = own_folder(folder)
    for file, digest in trained_on.items():
        if not (weights / file).is_file() or file_digest(weights / file) != digest:
            raise SourceError(
                f"{record.folder}: was trained on another backbone: {weights / file} is missing or "
                f"has not the SHA-256 {digest}"
            )


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`, and rename it to `folder` when it is complete."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".partial-", dir=folder.parent) as beside:
            staging = Path(beside) / folder.name
            staging.mkdir()
            yield staging
            _apply_umask(staging)
            staging.rename(folder)
    except OSError as error:
        raise RecordError(f"{folder}: cannot be written ({error})") from error


def _apply_umask(folder: Path) -> None:
    """Give all files the umask's permissions: transformers makes weights readable by owner only.

    Files to which a link leads are not part of the folder, and keep theirs.
    """
    mode = folder.stat().st_mode & 0o666  # the umask has already been applied to the new folder
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            file.chmod(mode)

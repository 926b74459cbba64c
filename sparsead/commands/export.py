"""`sparsead export`: write a finished run for peft (LoRA) or transformers (--merged)."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import FiniteFloat, PositiveInt
from safetensors.numpy import save
from typing_extensions import TypedDict

from sparsead.backbones.contract import architectures
from sparsead.config.arguments import Parser, add_run_arguments, add_trust, user_path
from sparsead.config.groups import BackboneSpec
from sparsead.config.trust import check_trusted
from sparsead.errors import ConfigError, RecordError, SourceError
from sparsead.pruning.storage import check_config, load_weights
from sparsead.runs.checked import check_type
from sparsead.runs.files import file_digest
from sparsead.runs.query import find_run
from sparsead.runs.record import RunRecord

_LORA_A = ".adapter.lora_A.weight"


class _LoraOptions(TypedDict):
    bottleneck: PositiveInt
    alpha: FiniteFloat
    dropout: FiniteFloat


def main() -> None:
    """Entry point of `sparsead export`."""
    parser = Parser("sparsead export", __doc__)
    add_run_arguments(parser)
    parser.add_argument("folder", type=user_path, metavar="FOLDER", help="new folder to write")
    parser.add_argument(
        "--merged",
        action="store_true",
        help="write the whole model for transformers, with the adapter merged into its weights",
    )
    backbone = "folder of the run's backbone, if it has moved"
    parser.add_argument("--backbone", type=user_path, metavar="FOLDER", help=backbone)
    add_trust(parser)
    arguments = parser.parse()
    write = export_merged if arguments.merged else export
    record = find_run(arguments.run, arguments.outputs)
    write(record, arguments.folder, arguments.trust, arguments.backbone)
    sys.stdout.write(f"{arguments.folder}\n")


def export(
    record: RunRecord, folder: Path, trust: Sequence[str] = (), backbone: Path | None = None
) -> None:
    """Write a run's LoRA adapter and head to a new folder, as peft's `save_pretrained` does.

    The folder contains `adapter_config.json` and `adapter_model.safetensors`. The tensors are
    dense, with zeros for the removed weights. A backbone in a folder is named by its absolute path,
    so that peft finds it from any place. The folder is either complete or absent.

    Args:
        record: the run.
        folder: a new folder.
        trust: packages whose code the record may name.
        backbone: folder of the backbone; None takes the one that the run was trained on.

    Raises:
        ConfigError: the run's adapter is not LoRA, `folder` exists already, or the backbone's
            folder does not exist.
        RecordError: the run's weights cannot be read, or `folder` cannot be written.
        SourceError: the backbone is not the one that the run was trained on, or the package that
            provided it is no longer installed.
    """
    config = record.result["config"]
    if config["adapter"]["method"] != "lora":
        raise ConfigError(
            f"{record.folder}: has adapter={config['adapter']['name']}; "
            "only adapter=lora can be exported"
        )
    check_trusted(config, trust)
    _check_new(folder)
    stored = load_weights(record)
    check_config(record, stored)
    weights = stored.tensors
    source = _find_backbone(record, backbone, stored.metadata.get("backbone", {}))
    config = config | {"backbone": config["backbone"] | {"path": source}}
    description = json.dumps(build_peft_config(config, list(weights)), indent=2) + "\n"
    tensors = {to_peft_key(name): tensor for name, tensor in weights.items()}
    files = {
        "adapter_config.json": description.encode(),
        "adapter_model.safetensors": save(tensors, {"format": "pt"}),
    }
    with _new_folder(folder) as staging:
        for name, content in files.items():
            (staging / name).write_bytes(content)


def export_merged(
    record: RunRecord, folder: Path, trust: Sequence[str] = (), backbone: Path | None = None
) -> None:
    """Write a run's model to a new folder, with the adapter merged into its weights, and tokenizer.

    transformers loads the folder like any other model. The folder is either complete or absent.

    Args:
        record: the run.
        folder: a new folder.
        trust: packages whose code the record may name.
        backbone: folder of the backbone; None takes the one that the run was trained on.

    Raises:
        ConfigError: the adapter cannot be merged into the backbone's weights, or `folder` exists
            already.
        RecordError: the run's weights cannot be read, or `folder` cannot be written.
        SourceError: the backbone cannot be loaded, or is not the one that the run was trained on.
    """
    _check_new(folder)
    from sparsead.adapters.merging import merge  # imports torch, which is slow; only needed here
    from sparsead.assembly.trained import load
    from sparsead.backbones.loading import skeleton
    from sparsead.training.quiet import quiet_libraries

    quiet_libraries()
    _find_backbone(record, backbone, {})
    run = load(record.folder, backbone=backbone, trust=trust)
    merge(run.model)
    plain = skeleton(run.spec.backbone, run.task.head, run.task.head_options).state_dict()
    left = [name for name in run.model.state_dict() if name not in plain]
    if left:
        raise ConfigError(
            f"{record.folder}: adapter={run.spec.adapter.name} cannot be merged: {left[0]} is not "
            "part of a linear change of one of the backbone's weights, such as LoRA's"
        )
    with _new_folder(folder) as staging:
        run.model.save_pretrained(staging)
        run.tokenizer.save_pretrained(staging)


def build_peft_config(config: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the values of peft's LoraConfig for a run; all others keep peft's defaults.

    Args:
        config: the configuration in the run's record.
        names: names of the tensors in the run's weights file.

    Raises:
        RecordError: an option of LoRA is missing or of another type.
    """
    heads = _heads(names)
    try:
        options = check_type(config["adapter"]["options"], _LoraOptions)
    except ValueError as error:
        raise RecordError(f"adapter.options: {error}") from error
    return {
        "peft_type": "LORA",
        "task_type": _task_type(names, heads),
        "base_model_name_or_path": _base_model(config["backbone"]),
        "r": options["bottleneck"],
        "lora_alpha": options["alpha"],
        "lora_dropout": options["dropout"],
        "target_modules": _target_modules(names),
        "modules_to_save": heads or None,
        "bias": "none",
        "inference_mode": True,
    }


def to_peft_key(name: str) -> str:
    """Return peft's name for a tensor of the run's weights file.

    `bert.….query.adapter.lora_A.weight` becomes `base_model.model.bert.….query.lora_A.weight`; the
    names of the head's tensors only get the prefix.
    """
    return f"base_model.model.{name.replace('.adapter.lora_', '.lora_')}"


def _target_modules(names: Iterable[str]) -> list[str]:
    """Return the names of the modules with LoRA, starting at the layer's index.

    peft matches names by suffix. Shorter names would match other modules too: the heads of RoBERTa
    and BART contain an `out_proj`, and `attention.output.dense` ends in `output.dense`.
    """
    modules = (name.removesuffix(_LORA_A) for name in names if name.endswith(_LORA_A))
    return sorted({re.sub(r"^.*\.(?=\d+\.)", "", module) for module in modules})


def _heads(names: Sequence[str]) -> list[str]:
    """Return the modules that are trained in full: the head, and a pooler within the backbone."""
    backbone = {name.split(".")[0] for name in names if name.endswith(_LORA_A)}
    paths = [name.split(".") for name in names if ".adapter." not in name]
    return sorted({".".join(path[: 1 + (path[0] in backbone)]) for path in paths})


def _task_type(names: Sequence[str], heads: Sequence[str]) -> str | None:
    """Return peft's task type, or None if it cannot be inferred from the names of the heads.

    The architecture is inferred from the modules with LoRA, because the one in conf/ need not be
    that of a backbone loaded from a folder.
    """
    fitting = [
        entry
        for entry in architectures().values()
        if all(entry.has(n.removesuffix(_LORA_A)) for n in names if n.endswith(_LORA_A))
    ]
    said = {entry.task_types.get(head) for entry in fitting for head in heads} - {None}
    return said.pop() if len(said) == 1 else None


def _base_model(backbone: Mapping[str, Any]) -> str | None:
    """Return the folder or hub name from which peft loads the base model; None if it is random."""
    named: str | None = backbone["path"] or backbone["hub"]
    if named or not backbone["package"]:
        return named
    from sparsead.backbones.loading import load_backbone  # imports torch; rarely needed

    return str(load_backbone(BackboneSpec(**backbone)).folder)


def _find_backbone(
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
    for file, digest in trained_on.items():
        if not (folder / file).is_file() or file_digest(folder / file) != digest:
            raise SourceError(
                f"{record.folder}: was trained on another backbone: {folder / file} is missing or "
                f"has not the SHA-256 {digest}"
            )
    return str(folder)


def _check_new(folder: Path) -> None:
    if os.path.lexists(folder):
        raise ConfigError(f"{folder}: exists already; give a new folder")


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
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
    """Give all files the umask's permissions: transformers makes weights readable by owner only."""
    mode = folder.stat().st_mode & 0o666  # the umask has already been applied to the new folder
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(mode)

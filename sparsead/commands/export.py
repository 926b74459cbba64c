"""`sparsead export`: a finished run as a folder that peft (LoRA) or transformers (merged) loads."""

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

from safetensors.numpy import save

from sparsead.backbones.contract import architectures
from sparsead.config.arguments import Parser, add_run_arguments
from sparsead.config.groups import BackboneSpec
from sparsead.errors import ConfigError, RecordError
from sparsead.pruning.storage import WEIGHTS_FILE, load_sparse
from sparsead.runs.query import find_run
from sparsead.runs.record import RunRecord

_LORA_A = ".adapter.lora_A.weight"


def main() -> None:
    """Entry point of `sparsead export`."""
    parser = Parser("sparsead export", __doc__)
    add_run_arguments(parser)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder to make")
    parser.add_argument(
        "--merged",
        action="store_true",
        help="write the whole model, the adapter folded into its weights, for transformers",
    )
    arguments = parser.parse()
    write = export_merged if arguments.merged else export
    write(find_run(arguments.run, arguments.outputs), arguments.folder)
    sys.stdout.write(f"{arguments.folder}\n")


def export(record: RunRecord, folder: Path) -> None:
    """Write a run's LoRA and head to a new folder, dense, removed weights being zeros.

    The folder holds `adapter_config.json` and `adapter_model.safetensors`, as peft's
    `save_pretrained` does; it appears complete or not at all.

    Raises:
        ConfigError: the run's adapter is not LoRA, or `folder` is there already.
        RecordError: the run's weights cannot be read, or `folder` cannot be written.
        SourceError: the package that the backbone came from is no longer there.
    """
    config = record.result["config"]
    if config["adapter"]["method"] != "lora":
        raise ConfigError(
            f"{record.folder}: was run with adapter={config['adapter']['name']}; "
            "only adapter=lora can be exported"
        )
    _check_new(folder)
    weights = load_sparse(record.folder / WEIGHTS_FILE).tensors
    description = json.dumps(build_peft_config(config, list(weights)), indent=2) + "\n"
    tensors = {to_peft_key(name): tensor for name, tensor in weights.items()}
    files = {
        "adapter_config.json": description.encode(),
        "adapter_model.safetensors": save(tensors, {"format": "pt"}),
    }
    with _new_folder(folder) as staging:
        for name, content in files.items():
            (staging / name).write_bytes(content)


def export_merged(record: RunRecord, folder: Path) -> None:
    """Write a run's model to a new folder, its adapter folded into the weights, and its tokenizer.

    transformers loads the folder as any other model; it appears complete or not at all.

    Raises:
        ConfigError: the adapter is no change of the backbone's weights, or `folder` exists already.
        RecordError: the run's weights cannot be read, or `folder` cannot be written.
        SourceError: the backbone cannot be had, or is not the one that the run was trained on.
    """
    _check_new(folder)
    from sparsead.adapters.merging import merge  # slow to import, and needed here alone
    from sparsead.assembly.trained import load
    from sparsead.backbones.loading import skeleton
    from sparsead.training.quiet import quiet_libraries

    quiet_libraries()
    run = load(record.folder)
    merge(run.model)
    plain = skeleton(run.spec.backbone, run.task.head, run.task.head_options).state_dict()
    left = [name for name in run.model.state_dict() if name not in plain]
    if left:
        raise ConfigError(
            f"{record.folder}: adapter={run.spec.adapter.name} cannot be merged: {left[0]} is part "
            "of what is no linear change of one of the backbone's weights, as LoRA is"
        )
    with _new_folder(folder) as staging:
        run.model.save_pretrained(staging)
        run.tokenizer.save_pretrained(staging)


def build_peft_config(config: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return what peft's LoraConfig has to say about a run; the rest are its defaults.

    Args:
        config: of the run's record.
        names: of the tensors in the run's weights file.
    """
    heads = _heads(names)
    options = config["adapter"]["options"]
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
    """Return what peft calls a tensor of the run's weights file in its own.

    `bert.….query.adapter.lora_A.weight` is `base_model.model.bert.….query.lora_A.weight` there;
    the head is kept under its own name behind the same prefix.
    """
    return f"base_model.model.{name.replace('.adapter.lora_', '.lora_')}"


def _target_modules(names: Iterable[str]) -> list[str]:
    """Return the adapted modules' names from their layer's number on, which peft finds by suffix.

    Shorter ones would reach too far: `out_proj` is also in the heads of RoBERTa and BART, and
    BERT's `output.dense` is the end of `attention.output.dense`.
    """
    modules = (name.removesuffix(_LORA_A) for name in names if name.endswith(_LORA_A))
    return sorted({re.sub(r"^.*\.(?=\d+\.)", "", module) for module in modules})


def _heads(names: Sequence[str]) -> list[str]:
    """Return the modules trained in full: beside the bare backbone, or, a pooler, right in it."""
    backbone = {name.split(".")[0] for name in names if name.endswith(_LORA_A)}
    paths = [name.split(".") for name in names if ".adapter." not in name]
    return sorted({".".join(path[: 1 + (path[0] in backbone)]) for path in paths})


def _task_type(names: Sequence[str], heads: Sequence[str]) -> str | None:
    """Return peft's name of the task; None where the heads' names do not say it.

    The architecture is told by the adapted modules: what conf/ says of it does not hold for a
    backbone that came from a folder.
    """
    fitting = [
        entry
        for entry in architectures().values()
        if all(entry.has(n.removesuffix(_LORA_A)) for n in names if n.endswith(_LORA_A))
    ]
    said = {entry.task_types.get(head) for entry in fitting for head in heads} - {None}
    return said.pop() if len(said) == 1 else None


def _base_model(backbone: Mapping[str, Any]) -> str | None:
    """Return where peft finds the base model; None for one of random weights."""
    named: str | None = backbone["path"] or backbone["hub"]
    if named or not backbone["package"]:
        return named
    from sparsead.backbones.loading import load_backbone  # slow to import, and rarely needed

    return str(load_backbone(BackboneSpec(**backbone)).folder)


def _check_new(folder: Path) -> None:
    if os.path.lexists(folder):
        raise ConfigError(f"{folder}: exists already; name a folder that does not")


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write in, beside `folder`; rename it to that when it is complete."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".partial-", dir=folder.parent) as beside:
            staging = Path(beside) / folder.name
            staging.mkdir()
            yield staging
            _open_as_usual(staging)
            staging.rename(folder)
    except OSError as error:
        raise RecordError(f"{folder}: cannot be written ({error})") from error


def _open_as_usual(folder: Path) -> None:
    """Let be read by whom the umask says; transformers writes its weights for their owner alone."""
    mode = folder.stat().st_mode & 0o666  # a new folder has what the umask leaves
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(mode)

"""The folder of a backbone's files: the user's own, a package's, or one of the hub's cache."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from sparsead.backbones.pickled import combine, convert
from sparsead.backbones.weight_files import WEIGHTS, list_weight_files
from sparsead.config.groups import BackboneSpec
from sparsead.errors import SourceError
from sparsead.errors.translation import translate_errors
from sparsead.hub.commits import find_commit
from sparsead.hub.models import PICKLED_WEIGHTS, fetch_model, find_conversion, find_weights
from sparsead.hub.sources import INSTALL_WEIGHTS, Source, model_source
from sparsead.runs.files import check_readable, file_digest
from sparsead.runs.foreign import CONFIG as ADAPTER_CONFIG

log = logging.getLogger(__name__)

_TOKENIZER = ("special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
_NO_WEIGHTS = (
    "has neither safetensors nor a pytorch_model.bin; give a folder of weights with "
    "backbone.path=FOLDER"
)


def find_folder(spec: BackboneSpec) -> Path | None:
    """Return the folder of the backbone's files, with safetensors; None for random weights.

    Raises:
        SourceError: the files cannot be obtained, or the weights have another checksum.
    """
    if spec.path is not None:
        return own_folder(Path(spec.path))
    if spec.hub_source is not None and spec.package is not None:
        source = model_source(spec.hub_source, spec.revision, INSTALL_WEIGHTS)
        return _with_checksum(spec, fetch_model(source))
    if spec.package is not None:
        return _package_folder(spec)
    if spec.hub is not None:
        return _hub_folder(spec, model_source(spec.hub, spec.revision))
    return None


def own_folder(folder: Path) -> Path:
    """Return a folder of the user's own, or one with its pickled weights as safetensors.

    Raises:
        SourceError: it has no weights, or its pickled file holds anything but tensors.
    """
    if list(folder.glob("*.safetensors")):
        return folder
    if not find_weights(folder, PICKLED_WEIGHTS):
        raise SourceError(f"{folder}: {_NO_WEIGHTS}")
    return convert(folder, str(folder))


def translate_read_errors(folder: Path, failed: str) -> AbstractContextManager[None]:
    """Turn an error of a library that reads a folder in the block into a SourceError of one line.

    Args:
        folder: the folder; somebody else may have written what is in it.
        failed: what the message says of it, such as "cannot be loaded".
    """
    return translate_errors(lambda reason: SourceError(f"{folder}: {failed} ({reason})"))


def check_plain(folder: Path) -> None:
    """Refuse a folder from which transformers would load code, or other weights than its own.

    Raises:
        SourceError: it holds an adapter of peft, its configuration names code of the hub or a file
            of weights, its weights are quantised, or its index names weights outside the folder,
            which would not be hashed.
    """
    if (folder / ADAPTER_CONFIG).exists():
        raise SourceError(
            f"{folder}: holds an adapter of peft ({ADAPTER_CONFIG}), and is no backbone; a run "
            "starts from it with adapter.start"
        )
    file = folder / "config.json"
    with translate_read_errors(folder, "cannot be loaded"):
        check_readable(file)
        values = json.loads(file.read_text("utf-8")) if file.exists() else {}
    for key, value in list_values(values):
        if key.endswith("_implementation") and "/" in str(value):
            raise SourceError(
                f"{folder}: its config.json names {key}={value}, which is code of the hub; leave "
                "it out"
            )
    if isinstance(values, dict) and "transformers_weights" in values:
        raise SourceError(
            f"{folder}: its config.json names transformers_weights={values['transformers_weights']}"
            f", other weights than {WEIGHTS}; leave it out"
        )
    if isinstance(values, dict) and "quantization_config" in values:
        raise SourceError(
            f"{folder}: its config.json has quantization_config: quantised weights cannot be "
            "trained; give them in float32, float16 or bfloat16"
        )
    with translate_read_errors(folder, "cannot be loaded"):
        list_weight_files(folder)


def list_values(values: object) -> Iterator[tuple[str, object]]:
    """Yield each key of nested mappings, with its value."""
    for key, value in values.items() if isinstance(values, dict) else ():
        yield str(key), value
        yield from list_values(value)


def _package_folder(spec: BackboneSpec) -> Path:
    """Find the weights inside an installed package without importing it."""
    found = importlib.util.find_spec(str(spec.package))
    if found is None or found.origin is None:
        raise SourceError(
            f"backbone={spec.name}: the package {spec.package} is not installed; {INSTALL_WEIGHTS}"
        )
    return _with_checksum(spec, Path(found.origin).parent / str(spec.package_folder))


def _with_checksum(spec: BackboneSpec, folder: Path) -> Path:
    """Return the folder if its weights and its tokenizer are those of the configuration."""
    weights = folder / WEIGHTS
    if not weights.is_file() or file_digest(weights) != spec.sha256:
        raise SourceError(f"{weights}: is missing or has not the SHA-256 {spec.sha256}")
    if spec.tokenizer_sha256 not in (None, digest_tokenizer(folder)):
        raise SourceError(
            f"{folder}: its tokenizer is another one than that of backbone={spec.name}, which has "
            f"the SHA-256 {spec.tokenizer_sha256}"
        )
    return folder


def digest_tokenizer(folder: Path) -> str:
    """Return the SHA-256 of what `sha256sum` prints of the tokenizer's files, in this order."""
    there = (name for name in _TOKENIZER if (folder / name).is_file())
    lines = "".join(f"{file_digest(folder / name)}  {name}\n" for name in there)
    return hashlib.sha256(lines.encode()).hexdigest()


def _hub_folder(spec: BackboneSpec, source: Source) -> Path:
    """Return a model's files with safetensors: its own, else converted by the hub, else by us."""
    folder = fetch_model(source)
    if find_weights(folder):
        return folder
    branch = spec.safetensors_revision or find_conversion(source)
    if branch is not None:
        conversion = replace(source, revision=branch)
        converted = fetch_model(conversion)
        weights = find_weights(converted)
        if weights:
            log.info("%s: safetensors of %s, commit %s", source, branch, find_commit(conversion))
            return combine(folder, weights)
        if spec.safetensors_revision is not None:
            raise SourceError(
                f"{source}: backbone.safetensors_revision={branch} has no safetensors either"
            )
    pickled = fetch_model(source, PICKLED_WEIGHTS)
    if not find_weights(pickled, PICKLED_WEIGHTS):
        raise SourceError(f"{source}: {_NO_WEIGHTS}")
    return convert(pickled, str(source))

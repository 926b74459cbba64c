"""`sparsead export`: write a finished run as a folder for adapters, peft or transformers.

$ sparsead export RUN exported
$ sparsead export RUN exported --format adapters
$ sparsead export RUN exported --card
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from sparsead.assembly.exported import Exporter, export_merged, find_backbone
from sparsead.assembly.exported_adapterhub import export_adapterhub
from sparsead.assembly.exported_peft import export_peft
from sparsead.assembly.published import check_repository, publish
from sparsead.config.arguments import Parser, add_run_arguments, add_trust, user_path
from sparsead.errors import ConfigError
from sparsead.errors.display import tell
from sparsead.report.card import hub_name, write_card
from sparsead.runs.files import check_new
from sparsead.runs.query import find_trusted_run
from sparsead.runs.record import read_records

FORMATS: Mapping[str, Exporter] = {
    "adapters": export_adapterhub,
    "peft": export_peft,
    "transformers": export_merged,
}
"""By the library that loads the folder: the function that writes it."""


def main() -> None:
    """Entry point of `sparsead export`."""
    arguments = _parse()
    chosen = "transformers" if arguments.merged else arguments.format or "peft"
    record = find_trusted_run(arguments.run, arguments.outputs, arguments.trust)
    check_new("", arguments.folder)
    if arguments.push:
        check_repository(arguments.push)
    FORMATS[chosen](record, arguments.folder, arguments.trust, arguments.backbone)
    if arguments.card or arguments.push:
        place = arguments.push or f"./{arguments.folder.absolute().name}"
        base = None if arguments.push else find_backbone(record, arguments.backbone, {})
        others = read_records(record.folder.resolve().parent.parent)
        card = write_card(record, chosen, place, others, base)
        (arguments.folder / "README.md").write_text(card, "utf-8")
    if arguments.push:
        base = hub_name(record.result["config"]["backbone"])
        publish(arguments.folder, arguments.push, base, record.backbone_commit)
    sys.stdout.write(f"{arguments.folder}\n")
    if chosen != "transformers" and arguments.backbone is None:
        warn_of_random(record.result["config"]["backbone"])


def _parse() -> Namespace:
    parser = Parser("sparsead export", __doc__)
    add_run_arguments(parser)
    parser.add_argument("folder", type=user_path, metavar="FOLDER", help="new folder to write")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="library that is to load it: adapters (AdapterHub's), peft (LoRA, (IA)³, prefixes and "
        "SHiRA; the default), or transformers (the whole model, with LoRA merged into its weights)",
    )
    parser.add_argument("--merged", action="store_true", help="the same as --format transformers")
    parser.add_argument(
        "--card", action="store_true", help="also write README.md, a model card from the record"
    )
    pushed = "also publish the folder, with a card, as this repository on the hub (HF_TOKEN)"
    parser.add_argument("--push", metavar="REPO", help=pushed)
    backbone = "folder of the run's backbone, if it has moved"
    parser.add_argument("--backbone", type=user_path, metavar="FOLDER", help=backbone)
    add_trust(parser)
    arguments = parser.parse()
    if arguments.merged and arguments.format not in (None, "transformers"):
        raise ConfigError(
            f"export: --merged writes the format transformers, not {arguments.format}"
        )
    return arguments


def warn_of_random(backbone: Mapping[str, Any]) -> None:
    """Say that an adapter is of no use elsewhere where its backbone is in no file."""
    if not (hub_name(backbone) or backbone["path"] or backbone["package"]):
        tell(
            f"backbone={backbone['name']}: its weights are random and in no file, so that no other "
            "library can load this adapter with its backbone"
        )

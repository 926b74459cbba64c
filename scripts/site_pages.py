"""Add the documents of the root, such as README.md, to the site: a hook of mkdocs.yml.

In the repository a document of the root links to `docs/PAGE.md`, and a page to `../DOCUMENT.md`.
In the site all of them are pages of one folder, so that these links are shortened.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "RESULTS.md": "results.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Each document of the root, and the page of the site that it is."""

_LINK = re.compile(r"(\]\()(?:\.\./|docs/)?([^)#:\s]+)((?:#[^)]*)?\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and the pictures of RESULTS.md."""
    for document, page in PAGES.items():
        files.append(File.generated(config, page, content=shorten_links(ROOT / document)))
    for picture in sorted((ROOT / "results").glob("**/*.svg")):
        where = picture.relative_to(ROOT).as_posix()
        files.append(File.generated(config, where, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Shorten the links of every page."""
    return _LINK.sub(_shorten, markdown)


def shorten_links(document: Path) -> str:
    """Return a document of the root with the links of a page of the site."""
    return _LINK.sub(_shorten, document.read_text("utf-8"))


def _shorten(link: re.Match[str]) -> str:
    begin, target, end = link.groups()
    return f"{begin}{PAGES.get(target, target)}{end}"

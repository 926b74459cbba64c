"""A stand-in for the Hugging Face hub on the loopback address, for the libraries' own clients.

It answers the requests that huggingface_hub and datasets make to read a repository and to publish
files in one, and can be told to fail as the real one does.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Files = Mapping[str, bytes]

_LARGE = (".safetensors", ".bin", ".parquet", ".model")
_API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(\w[\w-]*)(?:/([^/]+))?(?:/(.*))?)?")
_FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Failure:
    """How a request fails.

    Args:
        status: the HTTP status of the answer; 200 answers as usual.
        code: the hub's own error code, such as GatedRepo.
        message: the hub's own error message.
        path: the requests that fail: a regular expression for a part of their path.
        delay: seconds before the answer.
        cut: bytes of a file after which the connection is closed; None sends all.
        rate: bytes of a file that are sent in a second; None sends them at once.
        times: number of requests that fail; the later ones are answered as usual.
    """

    status: int = 200
    code: str = ""
    message: str = ""
    path: str = ""
    delay: float = 0.0
    cut: int | None = None
    rate: float | None = None
    times: int = 10**9


@dataclass
class StandInHub:
    """The repositories by kind and name, and the requests that were made."""

    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    pulls: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread: Thread | None = None

    @property
    def url(self) -> str:
        """Its address, which never changes; it answers only after `start`."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        """Answer requests, in a thread of its own."""
        if self._thread is None:
            self._thread = Thread(target=self._server.serve_forever, daemon=True)
            self._thread.start()

    def reset(self) -> None:
        """Forget all repositories, requests and failures."""
        for store in (self.commits, self.branches, self.parents, self.pulls):
            store.clear()
        for seen in (self.requests, self.failures, self.tokens):
            seen.clear()

    def commit(self, kind: str, name: str, files: Files, branch: str = "main") -> str:
        """Make a commit with exactly these files, and return its hash.

        Args:
            kind: `models` or `datasets`.
            name: such as `owner/name`.
            files: path → content.
            branch: the branch that then points to it.
        """
        of_repo = self.branches.setdefault((kind, name), {})
        parent = of_repo.get(branch, of_repo.get("main", ""))
        content = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
        described = json.dumps([kind, name, parent, content], sort_keys=True)
        commit = hashlib.sha1(described.encode()).hexdigest()
        self.commits[commit] = dict(files)
        self.parents[commit] = parent
        of_repo[branch] = commit
        return commit

    def open_pull(self, name: str, files: Files, author: str, title: str) -> str:
        """Open a pull request on a model with these files, and return its branch."""
        opened = self.pulls.setdefault(("models", name), [])
        number = len(opened) + 1
        opened.append({"num": number, "title": title, "author": author})
        self.commit("models", name, files, f"refs/pr/{number}")
        return f"refs/pr/{number}"

    @contextmanager
    def failing(self, failure: Failure) -> Iterator[None]:
        """Fail as described within the block."""
        self.failures.append(failure)
        try:
            yield
        finally:
            self.failures.remove(failure)

    def failure_of(self, path: str) -> Failure:
        """Return how a request fails; it counts as one of the failure's times."""
        for failure in self.failures:
            if failure.times > 0 and re.search(failure.path, path):
                failure.times -= 1
                return failure
        return Failure()

    def resolve(self, kind: str, name: str, revision: str) -> str | None:
        """Return the commit of a branch or commit; None if there is none."""
        of_repo = self.branches.get((kind, name), {})
        return of_repo.get(revision) or (revision if revision in self.commits else None)


def _handler(hub: StandInHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Print nothing."""

        def do_HEAD(self) -> None:
            self._reply()

        def do_GET(self) -> None:
            self._reply()

        def do_POST(self) -> None:
            self._reply()

        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            hub.tokens.append(self.headers.get("Authorization"))
            failure = hub.failure_of(path)
            time.sleep(failure.delay)
            if failure.status != 200:
                self._fail(failure.status, failure.code, failure.message)
            elif path in ("/api/repos/create", "/api/validate-yaml"):
                self._send_json(_accepted(hub, path, json.loads(body)))
            elif (api := _API.fullmatch(urlsplit(self.path).path)) is not None:
                kind, name, what, revision, rest = (unquote(part or "") for part in api.groups())
                self._send_description(kind, name, what, revision, rest, body)
            elif (file := _FILE.fullmatch(urlsplit(self.path).path)) is not None:
                kind = "datasets" if file[1] else "models"
                self._file(kind, file[2], unquote(file[3]), unquote(file[4]), failure)
            else:
                self._fail(404, "", "")

        def _commit(self, kind: str, name: str, revision: str) -> str | None:
            if (kind, name) not in hub.branches:
                self._fail(401, "RepoNotFound", "Repository not found")
                return None
            commit = hub.resolve(kind, name, revision or "main")
            if commit is None:
                self._fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return commit

        def _send_description(
            self, kind: str, name: str, what: str, revision: str, rest: str, body: bytes
        ) -> None:
            if what == "discussions":
                return self._send_json(_discussions(hub.pulls.get((kind, name), []), name))
            commit = self._commit(kind, name, revision)
            if commit is None:
                return None
            files = hub.commits[commit]
            if what == "preupload":
                return self._send_json({"files": _uploads(json.loads(body)["files"])})
            if what == "commit":
                added = {**files, **_committed(body)}
                made = hub.commit(kind, name, added, revision)
                return self._send_json({"commitUrl": f"{hub.url}/{name}", "commitOid": made})
            if what == "tree":
                whole = "recursive=true" in self.path.lower()
                return self._send_json(_listed(files, rest.rstrip("/"), whole))
            if what == "commits":
                return self._send_json(_history(hub, commit))
            if what == "paths-info":
                asked = parse_qs(body.decode()).get("paths", [])
                tree = _tree(files) | _folders(files)
                return self._send_json([tree[path] for path in asked if path in tree])
            return self._send_json(
                {
                    "id": name,
                    "sha": commit,
                    "private": False,
                    "gated": False,
                    "tags": [],
                    "siblings": [{"rfilename": path} for path in files],
                }
            )

        def _file(self, kind: str, name: str, revision: str, path: str, failure: Failure) -> None:
            commit = self._commit(kind, name, revision)
            if commit is None:
                return
            content = hub.commits[commit].get(path)
            if content is None:
                self._fail(404, "EntryNotFound", "Entry not found", commit)
                return
            start = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
            rest = content[start:]
            self.send_response(206 if start else 200)
            self.send_header("ETag", f'"{_etag(path, content)}"')
            self.send_header("X-Repo-Commit", commit)
            self.send_header("Accept-Ranges", "bytes")
            if start:
                whole = f"bytes {start}-{len(content) - 1}/{len(content)}"
                self.send_header("Content-Range", whole)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            if self.command == "HEAD":
                return
            cut = failure.cut
            self._send_slowly(rest if cut is None else rest[:cut], failure.rate)
            if cut is not None and cut < len(rest):
                self.wfile.flush()
                self.close_connection = True

        def _send_slowly(self, content: bytes, rate: float | None) -> None:
            step = len(content) if rate is None else max(int(rate / 10), 1)
            for start in range(0, len(content), max(step, 1)):
                self.wfile.write(content[start : start + step])
                if rate is not None:
                    time.sleep(0.1)

        def _fail(self, status: int, code: str, message: str, commit: str = "") -> None:
            self.send_response(status)
            named = {"X-Error-Code": code, "X-Error-Message": message, "X-Repo-Commit": commit}
            for header, value in named.items():
                if value:
                    self.send_header(header, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send_json(self, value: Any) -> None:
            text = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(text)

    return Handler


def _accepted(hub: StandInHub, path: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Create a repository that is asked for, or accept the head of a card."""
    if path == "/api/validate-yaml":
        return {"errors": [], "warnings": []}
    name = f"{asked['organization']}/{asked['name']}"
    if ("models", name) not in hub.branches:
        hub.commit("models", name, {})
    return {"url": f"{hub.url}/{name}"}


def _uploads(files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Say that each file comes with the commit itself."""
    kept = {"uploadMode": "regular", "shouldIgnore": False}
    return [{"path": file["path"], **kept} for file in files]


def _committed(body: bytes) -> dict[str, bytes]:
    """Return the files of a commit: a line of JSON for its message, and one for each of them."""
    lines = [json.loads(line) for line in body.splitlines()]
    files = [line["value"] for line in lines if line["key"] == "file"]
    return {file["path"]: base64.b64decode(file["content"]) for file in files}


def _etag(path: str, content: bytes) -> str:
    """Return the SHA-256 of a large file, and the hash that git gives to a small one."""
    if path.endswith(_LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _tree(files: Files) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for path, content in files.items():
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content)}
        entry["oid"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if path.endswith(_LARGE):
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
        entries[path] = entry
    return entries


def _folders(files: Files) -> dict[str, Any]:
    paths = {path.rsplit("/", 1)[0] for path in files if "/" in path}
    return {path: {"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in paths}


def _listed(files: Files, folder: str, whole: bool) -> list[Any]:
    """Return the entries of a folder, or with `whole` those of the folders in it too."""
    prefix = f"{folder}/" if folder else ""
    entries = _tree(files) | _folders(files)
    inside = {p: e for p, e in entries.items() if p.startswith(prefix) and p != folder}
    return [e for p, e in inside.items() if whole or "/" not in p.removeprefix(prefix)]


def _history(hub: StandInHub, commit: str) -> list[dict[str, Any]]:
    found = []
    while commit:
        date = "2026-01-01T00:00:00.000Z"
        found.append({"id": commit, "title": "", "message": "", "date": date, "authors": []})
        commit = hub.parents[commit]
    return found


def _discussions(pulls: list[dict[str, Any]], name: str) -> dict[str, Any]:
    described = [
        {
            "num": pull["num"],
            "title": pull["title"],
            "status": "open",
            "isPullRequest": True,
            "author": {"name": pull["author"]},
            "createdAt": "2026-01-01T00:00:00.000Z",
            "repo": {"name": name, "type": "model"},
        }
        for pull in pulls
    ]
    return {
        "discussions": described,
        "count": len(described),
        "start": 0,
        "numClosedDiscussions": 0,
    }


HUB = StandInHub()
"""The hub of the fixture: one for each process, although conftest.py is imported twice in some."""

"""A stand-in for the Hugging Face hub: the endpoints that huggingface_hub calls, over real HTTP, in memory.

Small files travel inside a commit, weights by LFS, as on the hub. Whoever may not see a repository gets 401, as there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_of_the_tests"
Files = dict[str, bytes]


@dataclass
class Repository:
    """Commits by their id; `refs` names some. `sizes` are claimed for files instead of the true ones."""

    private: bool = False
    gated: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)

    def commit(self, files: Files, message: str = "") -> str:
        """Add or replace files on the main branch; returns the commit's id."""
        before = self.commits.get(self.refs.get("main", ""), {})
        after = {**before, **files}
        digest = hashlib.sha1(str((len(self.commits), sorted(after))).encode()).hexdigest()
        self.commits[digest], self.refs["main"] = after, digest
        self.messages.append(message)
        return digest

    def find(self, revision: str) -> str | None:
        """The commit of a revision."""
        commit = self.refs.get(revision, revision)
        return commit if commit in self.commits else None


@dataclass
class Hub:
    """Everything the stand-in holds, and every request it got."""

    url: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: Files = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def add(self, name: str, files: Files, **options: Any) -> Repository:
        """A repository with one commit."""
        self.repositories[name] = repository = Repository(**options)
        repository.commit(files)
        return repository


class RefusalError(Exception):
    """An answer that is an error: status and X-Error-Code."""

    def __init__(self, status: int, code: str = "") -> None:
        self.status, self.code = status, code


class Handler(BaseHTTPRequestHandler):
    hub: ClassVar[Hub]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            for pattern, run in ROUTES.items():
                if found := re.fullmatch(pattern, f"{self.command} {path}"):
                    run(self, **found.groupdict())
                    return
            raise RefusalError(404)
        except RefusalError as refusal:
            self.send(b"{}", refusal.status, {"X-Error-Code": refusal.code} if refusal.code else {})

    do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 - the names that http.server calls

    def send(self, data: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def send_json(self, document: object) -> None:
        self.send(json.dumps(document).encode(), headers={"Content-Type": "application/json"})

    def signed_in(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def readable(self, name: str) -> Repository:
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not self.signed_in()):
            raise RefusalError(401, "RepoNotFound")
        return repository

    def files(self, name: str, revision: str) -> tuple[str, Files]:
        commit = self.readable(name).find(revision)
        if commit is None:
            raise RefusalError(404, "RevisionNotFound")
        return commit, self.readable(name).commits[commit]

    def writable(self, name: str) -> Repository:
        if not self.signed_in():
            raise RefusalError(401)
        return self.readable(name)


def info(handler: Handler, name: str, revision: str | None) -> None:
    commit, files = handler.files(name, revision or "main")
    siblings = [{"rfilename": path} for path in files]
    handler.send_json({"id": name, "modelId": name, "sha": commit, "siblings": siblings, "tags": [], "private": False})


def described(handler: Handler, name: str, revision: str) -> list[dict[str, object]]:
    _, files = handler.files(name, revision)
    sizes = handler.hub.repositories[name].sizes
    return [
        {"type": "file", "path": path, "size": sizes.get(path, len(data)), "oid": etag(data)}
        for path, data in files.items()
    ]


def tree(handler: Handler, name: str, revision: str) -> None:
    handler.send_json(described(handler, name, revision))


def paths_info(handler: Handler, name: str, revision: str) -> None:
    wanted = parse_qs(handler.body.decode())["paths"]
    handler.send_json([file for file in described(handler, name, revision) if file["path"] in wanted])


def resolve(handler: Handler, name: str, revision: str, path: str) -> None:
    commit, files = handler.files(name, revision)
    if handler.readable(name).gated and not handler.signed_in():
        raise RefusalError(403, "GatedRepo")
    if path not in files:
        raise RefusalError(404, "EntryNotFound")
    data = files[path]
    handler.send(data, headers={"ETag": f'"{etag(data)}"', "X-Repo-Commit": commit, "X-Linked-Size": str(len(data))})


def etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


def create(handler: Handler) -> None:
    if not handler.signed_in():
        raise RefusalError(401)
    asked = json.loads(handler.body)
    name = f"{asked['organization']}/{asked['name']}"
    if name in handler.hub.repositories:
        raise RefusalError(409)
    handler.hub.repositories[name] = repository = Repository(private=asked.get("visibility") == "private")
    repository.commit({".gitattributes": b""})
    handler.send_json({"url": f"{handler.hub.url}/{name}", "id": name})


def preupload(handler: Handler, name: str) -> None:
    handler.writable(name)
    handler.send_json(
        {
            "files": [
                {
                    "path": path,
                    "uploadMode": "lfs" if path.endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for path in (file["path"] for file in json.loads(handler.body)["files"])
            ]
        }
    )


def batch(handler: Handler, name: str) -> None:
    handler.writable(name)
    objects = json.loads(handler.body)["objects"]
    actions = [{"upload": {"href": f"{handler.hub.url}/lfs/{item['oid']}"}} for item in objects]
    answers = [{**item, "actions": action} for item, action in zip(objects, actions, strict=True)]
    handler.send_json({"transfer": "basic", "objects": answers})


def upload(handler: Handler, oid: str) -> None:
    if hashlib.sha256(handler.body).hexdigest() != oid:
        raise RefusalError(422)
    handler.hub.large[oid] = handler.body
    handler.send(b"")


def commit(handler: Handler, name: str) -> None:
    repository = handler.writable(name)
    files: Files = {}
    message = ""
    for line in map(json.loads, handler.body.splitlines()):
        value = line["value"]
        if line["key"] == "header":
            message = value["summary"]
        elif line["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        else:
            files[value["path"]] = handler.hub.large[value["oid"]]
    digest = repository.commit(files, message)
    handler.send_json({"commitUrl": f"{handler.hub.url}/{name}/commit/{digest}", "commitOid": digest})


MODEL = r"(?P<name>[^/]+/[^/]+)"
ROUTES: dict[str, Callable[..., None]] = {
    rf"GET /api/models/{MODEL}(/revision/(?P<revision>.+))?": info,
    rf"GET /api/models/{MODEL}/tree/(?P<revision>[^/]+)": tree,
    rf"POST /api/models/{MODEL}/paths-info/(?P<revision>[^/]+)": paths_info,
    rf"(GET|HEAD) /{MODEL}/resolve/(?P<revision>[^/]+)/(?P<path>.+)": resolve,
    r"POST /api/repos/create": create,
    r"POST /api/validate-yaml": lambda handler: handler.send_json({"warnings": [], "errors": []}),
    rf"POST /api/models/{MODEL}/preupload/main": preupload,
    rf"POST /{MODEL}\.git/info/lfs/objects/batch": batch,
    r"PUT /lfs/(?P<oid>[0-9a-f]+)": upload,
    rf"POST /api/models/{MODEL}/commit/main": commit,
}


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub on a free port of this machine."""

    class Bound(Handler):
        """Of this hub and no other."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
    Bound.hub = hub = Hub(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

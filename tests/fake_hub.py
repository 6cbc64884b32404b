"""
A Hub on this machine, in memory: create, validate, commit and download, with revisions, tokens and failures. Weights go
the way of large files: batch, PUT to a storage, verify, and a pointer in the commit. There is no Xet storage.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

import yaml

TOKEN = "hf_" + "onlyForTheFakeHub" * 2
_REPO = r"/api/(models|spaces)/([^/]+/[^/]+)"


# What the Hub puts into a Space that is created without files.
_NEW_SPACE = """\
---
title: Memory Page
emoji: 🌖
colorFrom: pink
colorTo: indigo
sdk: gradio
sdk_version: 6.0.0
app_file: app.py
pinned: false
---

Check out the configuration reference at https://huggingface.co/docs/hub/spaces-config-reference
""".encode()


@dataclass
class Repo:
    """Commits in order, each a whole tree; the private ones are hidden from those without the token."""

    private: bool = False
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=lambda: [("0" * 40, {})])
    stored: dict[str, bytes] = field(default_factory=dict)  # large files by their SHA-256

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1][1]

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.commits[-1]
        return next((commit for commit in self.commits if commit[0] == revision), None)

    def add(self, changes: dict[str, bytes]) -> str:
        tree = {**self.files, **changes}
        content = json.dumps([len(self.commits), {name: git_id(data) for name, data in sorted(tree.items())}])
        self.commits.append((hashlib.sha1(content.encode()).hexdigest(), tree))
        return self.commits[-1][0]


class FakeHub:
    """
    `repos` by id, a Space's as `spaces/OWNER/NAME`; `requests` are `"METHOD path"`; `break_commits` and
    `break_uploads` cut the connection in a repository's next so many commits and transfers of a large file; `cut` is
    how many bytes of a download pass before the connection ends, by file name.
    """

    def __init__(self, port: int = 0) -> None:
        self.repos: dict[str, Repo] = {}
        self.requests: list[str] = []
        self.break_commits: dict[str, int] = {}
        self.break_uploads: dict[str, int] = {}
        self.cut: dict[str, int] = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", port), type("Handler", (_Handler,), {"hub": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def reset(self) -> None:
        for state in (self.repos, self.requests, self.break_commits, self.break_uploads, self.cut):
            state.clear()

    def add_folder(self, repo_id: str, folder: Any, private: bool = False) -> str:
        """A repository with a folder's files, put there without the client."""
        repo = self.repos.setdefault(repo_id, Repo(private))
        return repo.add({str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()})


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer("HEAD", b"")

    def do_GET(self) -> None:
        self.answer("GET", b"")

    def do_PUT(self) -> None:
        # The address is the key: no token is sent to the storage.
        path = unquote(urlparse(self.path).path)
        self.hub.requests.append(f"PUT {path}")
        repo_id, oid = path.removeprefix("/storage/").rsplit("/", 1)
        if self.breaks(self.hub.break_uploads, repo_id):
            return
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if hashlib.sha256(data).hexdigest() != oid:
            return self.refuse(400, "", "the content is not the one that was announced")
        self.hub.repos[repo_id].stored[oid] = data
        self.send(200)

    def breaks(self, left: dict[str, int], repo_id: str) -> bool:
        """Whether the connection ends here, before all has come."""
        if left.get(repo_id, 0) <= 0:
            return False
        left[repo_id] -= 1
        self.close_connection = True
        self.connection.close()
        return True

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while length := int(self.rfile.readline().strip(), 16):
                body += self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.answer("POST", body)

    def send(self, status: int, body: Any = b"", **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        if not isinstance(body, bytes):
            self.send_header("Content-Type", "application/json")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, code: str, message: str) -> None:
        self.send(status, {"error": message}, X_Error_Code=code, X_Error_Message=message)

    def answer(self, method: str, body: bytes) -> None:
        path = unquote(urlparse(self.path).path)
        self.hub.requests.append(f"{method} {path}")
        given = self.headers.get("Authorization")
        self.is_owner = given == f"Bearer {TOKEN}"
        if given is not None and not self.is_owner:
            return self.refuse(401, "", "Invalid credentials in Authorization header")
        if path == "/api/validate-yaml":
            return self.validate(json.loads(body))
        if method == "POST" and not self.is_owner:
            return self.refuse(401, "", "Invalid username or password.")
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        for pattern, act in (
            (rf"{_REPO}/preupload/(.+)", self.preupload),
            (rf"{_REPO}/commit/(.+)", self.commit),
            (rf"{_REPO}/tree/([^/]+)/?(.*)", self.tree),
            (rf"{_REPO}/revision/([^/]+)", self.info),
            (_REPO, self.info),
            (r"/(?:(spaces)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.resolve),
            (r"/(?:(spaces)/)?([^/]+/[^/]+)[.]git/info/lfs/objects/batch", self.batch),
            (r"/(?:(spaces)/)?([^/]+/[^/]+)[.]git/info/lfs/verify", self.verify),
        ):
            if match := re.fullmatch(pattern, path):
                kind, repo_id, *rest = match.groups()
                repo_id = f"spaces/{repo_id}" if kind == "spaces" else repo_id
                repo = self.hub.repos.get(repo_id)
                if repo is None or (repo.private and not self.is_owner):
                    return self.refuse(404, "RepoNotFound", "Repository not found")
                return act(repo_id, repo, body, *rest)
        self.refuse(404, "EntryNotFound", "no such route")

    def validate(self, asked: dict[str, str]) -> None:
        errors = card_errors(asked["content"], asked["repoType"])
        self.send(400 if errors else 200, {"errors": [{"message": e} for e in errors], "warnings": []})

    def create(self, wanted: dict[str, Any]) -> None:
        repo_id = f"{wanted.get('organization') or 'tester'}/{wanted['name'].rpartition('/')[2]}"
        if "/" in wanted["name"]:
            repo_id = wanted["name"]
        is_space = wanted.get("type") == "space"
        if is_space:
            if wanted.get("sdk") not in ("gradio", "docker", "static"):
                return self.refuse(400, "", '"sdk" must be one of [gradio, docker, static]')
            repo_id = f"spaces/{repo_id}"
        url = {"url": f"{self.hub.url}/{repo_id}", "name": repo_id, "id": "1"}
        if repo_id in self.hub.repos:
            return self.send(409, {"error": "You already created this repo", **url})
        repo = self.hub.repos[repo_id] = Repo(bool(wanted.get("private") or wanted.get("visibility") == "private"))
        if is_space:
            repo.add({"README.md": _NEW_SPACE})
        self.send(200, url)

    def preupload(self, repo_id: str, repo: Repo, body: bytes, revision: str) -> None:
        names = [file["path"] for file in json.loads(body)["files"]]
        self.send(200, {"files": [
            {"path": name, "uploadMode": "lfs" if is_large(name) else "regular", "shouldIgnore": False,
             "oid": file_id(name, repo.files.get(name))}
            for name in names
        ]})  # fmt: skip

    def batch(self, repo_id: str, repo: Repo, body: bytes) -> None:
        """Where to send each large file; those that have arrived before need no sending."""
        objects = [{"oid": asked["oid"], "size": asked["size"]} for asked in json.loads(body)["objects"]]
        for entry in objects:
            if entry["oid"] not in repo.stored:
                entry["actions"] = {
                    "upload": {"href": f"{self.hub.url}/storage/{repo_id}/{entry['oid']}"},
                    "verify": {"href": f"{self.hub.url}/{repo_id}.git/info/lfs/verify"},
                }
        self.send(200, {"transfer": "basic", "objects": objects})

    def verify(self, repo_id: str, repo: Repo, body: bytes) -> None:
        asked = json.loads(body)
        if len(repo.stored.get(asked["oid"], b"")) != asked["size"]:
            return self.refuse(404, "", "the file has not arrived")
        self.send(200)

    def commit(self, repo_id: str, repo: Repo, body: bytes, revision: str) -> None:
        if self.breaks(self.hub.break_commits, repo_id):
            return
        changes = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file" and not is_large(value["path"]):
                changes[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile" and value["oid"] in repo.stored:
                changes[value["path"]] = repo.stored[value["oid"]]
            elif line["key"] != "header":
                return self.refuse(400, "", f"unsupported {line['key']}")
        kind = "space" if repo_id.startswith("spaces/") else "model"
        if "README.md" in changes and (errors := card_errors(changes["README.md"].decode(), kind)):
            return self.refuse(400, "", "; ".join(errors))
        sha = repo.add(changes)
        url = f"{self.hub.url}/{repo_id}/commit/{sha}"
        self.send(200, {"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def info(self, repo_id: str, repo: Repo, body: bytes, revision: str = "main") -> None:
        if (found := repo.at(revision)) is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        sha, tree = found
        self.send(200, {
            "_id": "1", "id": repo_id, "modelId": repo_id, "sha": sha, "private": repo.private, "tags": [],
            "downloads": 0, "likes": 0, "siblings": [{"rfilename": name} for name in tree],
        })  # fmt: skip

    def tree(self, repo_id: str, repo: Repo, body: bytes, revision: str, below: str) -> None:
        if (found := repo.at(revision)) is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        names = [name for name in found[1] if name.startswith(below)]
        if below and not names:
            return self.refuse(404, "EntryNotFound", "no such folder")
        self.send(200, [
            {"type": "file", "oid": file_id(name, found[1][name]), "size": len(found[1][name]), "path": name}
            for name in names
        ])  # fmt: skip

    def resolve(self, repo_id: str, repo: Repo, body: bytes, revision: str, name: str) -> None:
        if (found := repo.at(revision)) is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        sha, tree = found
        if name not in tree:
            return self.send(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
        data, start = tree[name], 0
        headers = {"ETag": f'"{file_id(name, data)}"', "X_Repo_Commit": sha, "Accept_Ranges": "bytes"}
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(asked[1])
            headers["Content_Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if self.command == "GET" and name in self.hub.cut:
            self.close_connection = True
            self.send(206 if start else 200, data[start : start + self.hub.cut[name]],
                      **headers, Content_Length=str(len(data) - start))  # fmt: skip
            return
        self.send(206 if start else 200, data[start:], **headers)


def is_large(name: str) -> bool:
    """As a new repository's `.gitattributes` has it."""
    return name.endswith((".safetensors", ".bin", ".pt"))


def file_id(name: str, data: bytes | None) -> str | None:
    """What the Hub knows a file by: large ones by their SHA-256."""
    return hashlib.sha256(data).hexdigest() if data is not None and is_large(name) else git_id(data)


def git_id(data: bytes | None) -> str | None:
    """The id that git gives a file of this content."""
    return None if data is None else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def card_errors(content: str, repo_type: str = "model") -> list[str]:
    """What the Hub's check of a card's metadata would object to."""
    match = re.match(r"^(\s*---(?:\r\n|\r|\n))([\S\s]*?)((?:\r\n|\r|\n)---[ \t]*(\r\n|\n|$))", content)
    if not match:
        return ["the metadata block is missing"]
    try:
        data = yaml.safe_load(match[2])
    except yaml.YAMLError as error:
        return [f"invalid YAML: {error}"]
    if not isinstance(data, dict):
        return ["the metadata is no mapping"]
    return [] if repo_type == "model" else _space_errors(data)


def _space_errors(data: dict[str, Any]) -> list[str]:
    """After the Hub's reference of a Space's configuration."""
    errors = [f'"{name}" must be a string' for name in ("title", "sdk_version", "python_version", "app_file")
              if not isinstance(data.get(name, ""), str)]  # fmt: skip
    if data.get("sdk") not in ("gradio", "docker", "static"):
        errors.append('"sdk" must be one of [gradio, docker, static]')
    if len(data.get("short_description", "")) > 60:
        errors.append('"short_description" must be at most 60 characters long')
    return errors

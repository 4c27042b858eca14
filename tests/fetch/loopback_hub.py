"""A Hub on loopback: enough of the Hugging Face Hub's HTTP interface for its own client, and faults on demand.

A repository is a folder `<org>/<name>/<commit>`; its files are served with the headers that the client reads.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LARGE = (".safetensors", ".bin")
"""Endings of the files that the Hub keeps in LFS, named by their SHA-256; the others are named by their git blob id."""


def etag(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix in LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        hub, path = self.server, self.path.partition("?")[0]
        hub.asked.append((self.command, path, self.headers.get("Range")))
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if api and body:
            self.repository(api[1], api[2], api[3] or "main")
        elif file:
            self.file(file[1], file[2], file[3], body)
        else:
            self.refuse("EntryNotFound")

    def folder(self, name: str, revision: str) -> Path | None:
        """The folder of a commit; of the only one for `main`. None after a refusal."""
        repository = self.server.root / name
        if not repository.is_dir():
            return self.refuse("RepoNotFound")
        folder = next(repository.iterdir()) if revision == "main" else repository / revision
        return folder if folder.is_dir() else self.refuse("RevisionNotFound")

    def repository(self, name: str, kind: str | None, revision: str) -> None:
        folder = self.folder(name, revision)
        if folder is None:
            return
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if kind != "tree":
            content: object = {"id": name, "sha": folder.name, "siblings": []}
        else:
            content = []
            for path in files:
                size = path.stat().st_size
                entry = {"type": "file", "oid": "0" * 40, "size": size, "path": path.relative_to(folder).as_posix()}
                if path.suffix in LARGE:
                    entry["lfs"] = {"oid": etag(path), "size": size, "pointerSize": 134}
                content.append(entry)
        body = json.dumps(content).encode()
        self.send(200, {"Content-Type": "application/json", "Content-Length": str(len(body))}, body)

    def file(self, name: str, revision: str, file: str, body: bool) -> None:
        folder = self.folder(name, revision)
        if folder is None:
            return
        path = folder / file
        if not path.is_file():
            self.refuse("EntryNotFound")
            return
        content = self.server.instead.get(file, path.read_bytes())
        headers = {"X-Repo-Commit": folder.name, "ETag": f'"{etag(path)}"', "Accept-Ranges": "bytes"}
        if path.suffix in LARGE:
            headers |= {"X-Linked-Etag": f'"{etag(path)}"', "X-Linked-Size": str(len(content))}
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(wanted[1]) if wanted else 0
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        headers["Content-Length"] = str(len(content) - start)
        part = content[start:]
        if body and file in self.server.cuts:
            part = part[: self.server.cuts.pop(file)]
            self.close_connection = True
        self.send(206 if start else 200, headers, part if body else b"")

    def refuse(self, code: str) -> None:
        self.send(404, {"X-Error-Code": code, "X-Error-Message": code, "Content-Length": "0"}, b"")

    def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(root: Path) -> Iterator[ThreadingHTTPServer]:
    """A running server; `.asked` has its requests, `.cuts` ends a file's first answer early, `.instead` its bytes."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.root, server.asked, server.cuts, server.instead = root, [], {}, {}
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()

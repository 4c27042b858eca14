"""A Hub on loopback that takes commits, and answers wrongly where a test says so."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

LARGE = ".safetensors"
"""The ending of files that go by LFS."""

OID = "0123456789abcdef0123456789abcdef01234567"


class Fault(NamedTuple):
    """An answer in place of the right one."""

    status: int
    body: bytes = b""
    code: str = ""
    """Of the header `X-Error-Code`."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.handle_one()

    do_POST = do_PUT = do_GET

    def handle_one(self) -> None:
        hub, path = self.server, self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub.asked.append(f"{self.command} {path}")
        if self.command == "POST":  # a large file is put where the batch said, which is signed by itself
            hub.tokens.add(self.headers.get("Authorization"))
        fault = next((fault for place, fault in hub.faults.items() if place in f"{self.command} {path}"), None)
        if fault is not None:
            self.send(fault.status, fault.body, {"X-Error-Code": fault.code} if fault.code else {})
        elif self.command == "PUT":
            hub.large[path.rpartition("/")[2]] = body
            self.send(200, b"")
        else:
            self.send(200, json.dumps(self.answer(path, body)).encode())

    def answer(self, path: str, body: bytes) -> Any:
        hub, address = self.server, f"http://127.0.0.1:{self.server.server_port}"
        if path == "/api/repos/create":
            hub.created.append(json.loads(body))
            return {"url": f"{address}/org/name"}
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        if path.endswith("/preupload/main"):
            modes = {
                file["path"]: "lfs" if file["path"].endswith(LARGE) else "regular" for file in json.loads(body)["files"]
            }
            return {
                "files": [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes.items()]
            }
        if path.endswith("/info/lfs/objects/batch"):
            links = {
                item["oid"]: {"upload": {"href": f"{address}/lfs/{item['oid']}"}}
                for item in json.loads(body)["objects"]
            }
            return {
                "transfer": "basic",
                "objects": [{"oid": oid, "size": 1, "actions": link} for oid, link in links.items()],
            }
        if path.endswith("/commit/main"):
            hub.commits.append([json.loads(line) for line in body.splitlines()])
            return {"commitUrl": f"{address}/org/name/commit/{OID}", "commitOid": OID, "pullRequestUrl": None}
        return {
            "id": "org/name",
            "private": hub.private,
            "sha": OID,
            "siblings": [{"rfilename": name} for name in hub.there],
        }

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve() -> Iterator[ThreadingHTTPServer]:
    """A running Hub: `.asked`, `.tokens`, `.created`, `.commits`, `.large` files; `.private`, `.there`, `.faults`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as hub:
        hub.daemon_threads, hub.private, hub.there = True, False, []
        hub.asked, hub.tokens, hub.created, hub.commits, hub.large, hub.faults = [], set(), [], [], {}, {}
        threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True).start()
        yield hub
        hub.shutdown()


def committed(hub: ThreadingHTTPServer) -> dict[str, bytes]:
    """The files of the one commit."""
    (lines,) = hub.commits
    files = {
        line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
    }
    for value in (line["value"] for line in lines if line["key"] == "lfsFile"):
        content = hub.large[value["oid"]]
        assert hashlib.sha256(content).hexdigest() == value["oid"]
        files[value["path"]] = content
    return files

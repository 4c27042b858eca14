"""A server of one folder's files, for pages that browsers do not open from disk."""

from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TYPES = {
    **SimpleHTTPRequestHandler.extensions_map,
    ".mjs": "text/javascript",
    ".js": "text/javascript",
    ".wasm": "application/wasm",
}
"""By the end of a file's name. Browsers refuse modules of another type, and are slow with such WebAssembly."""


class FileHandler(SimpleHTTPRequestHandler):
    """Files as they are now: a page that was built again is seen at once."""

    extensions_map = TYPES

    def end_headers(self) -> None:
        """Ask browsers to look whether a file has changed."""
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""


class FileServer(ThreadingHTTPServer):
    """Serves a folder until it is closed."""

    def __init__(self, folder: Path, host: str, port: int) -> None:
        """Listen at `host`, `port`; 0 is any that is free.

        Raises:
            ValueError: the port is taken or not allowed, or the host is none of this machine.
        """
        try:
            super().__init__((host, port), partial(FileHandler, directory=str(folder)))
        except OSError as error:
            raise ValueError(f"cannot listen at {host}:{port}: {error.strerror}; name another with --port") from error

    @property
    def address(self) -> str:
        """The page's."""
        host, port = str(self.server_address[0]), self.server_address[1]
        return f"http://{'localhost' if host in ('127.0.0.1', '0.0.0.0') else host}:{port}/"

    def serve_until_stopped(self) -> None:
        """Serve until Ctrl+C."""
        with suppress(KeyboardInterrupt):
            self.serve_forever()

"""onnxruntime-web, which runs ONNX graphs in a browser: two files of its npm package, known by their hashes."""

from pathlib import Path

from dmd.fetch.downloads import Original, downloads_folder, obtain, place
from dmd.fetch.mirrors import HttpMirror, npm_package
from dmd.fetch.sources import Source

PACKAGE = "onnxruntime-web@1.30.0"

ARCHIVE = Original(
    "onnxruntime-web-1.30.0.tgz", "sha256", "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
)

FILES = (
    Original("ort.wasm.bundle.min.mjs", "sha256", "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90"),
    Original(
        "ort-wasm-simd-threaded.wasm", "sha256", "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
)
"""The module that a page imports, and the WebAssembly that it loads (MIT)."""

TIMEOUT = 30.0
"""Seconds that a mirror may stay silent."""


def source() -> Source:
    """The files, from a network that serves npm's packages one file at a time, or from the package itself."""
    by_name = {original.name: original for original in FILES}
    members = {name: f"package/dist/{name}" for name in by_name}
    network = HttpMirror("jsdelivr", f"https://cdn.jsdelivr.net/npm/{PACKAGE}/dist/", by_name)
    return Source(FILES, (network, npm_package(PACKAGE, ARCHIVE, members)), "onnxruntime-web-1.30.0")


def place_runtime(folder: Path) -> None:
    """Write the files to `folder`; they are downloaded where the folder of downloads lacks them.

    Raises:
        DownloadError: they cannot be had; names the mirrors and where to put the files by hand.
    """
    wanted = source()
    downloads = downloads_folder() / wanted.folder
    obtain(wanted.originals, wanted.mirrors, downloads, TIMEOUT)
    for original in wanted.originals:
        place(original, downloads, folder / original.name)

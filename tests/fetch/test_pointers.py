"""A Git-LFS pointer is told from the file that it stands for, wherever files are checked."""

import json
from pathlib import Path

import pytest

from dmd.fetch.downloads import DownloadError, Original
from dmd.fetch.pointers import is_pointer
from dmd.fetch.weights_folder import check_provenance

# The example of Git LFS's own specification, docs/spec.md.
POINTER = b"""version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 12345
"""


def test_only_a_pointer_is_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content, expected in ((POINTER, True), (b"", False), (b"version 1\n", False), (bytes(200), False)):
        path.write_bytes(content)
        assert is_pointer(path) is expected


def test_a_download_and_a_shipped_network_that_are_pointers_are_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    path.write_bytes(POINTER)
    with pytest.raises(DownloadError, match=r"is not the file that is wanted: a Git-LFS pointer \(run `git lfs pull`"):
        Original(path.name, "sha256", "0" * 64).check(path)
    (tmp_path / "provenance.json").write_text(json.dumps({"sha256": "0" * 64}))
    with pytest.raises(ValueError, match=rf"{path.name}: only a Git-LFS pointer .*`git lfs pull`"):
        check_provenance(tmp_path, required=True)

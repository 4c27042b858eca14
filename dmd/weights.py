"""Weights: the pretrained networks that a system starts from, as folders with a manifest.

Each folder holds `manifest.json`, `{"files": {name: sha256}}`; what is in it never depends on where it came from.
"""

import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from torch import Tensor

from dmd import sources
from dmd.archives import extract
from dmd.checkpoint import file_sha256, load_json, save_json, save_tensors
from dmd.downloads import DownloadError, find

logger = logging.getLogger(__name__)

MODEL = "diffusion_pytorch_model.safetensors"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def check_teacher_files(folder: Path, image_shape: Sequence[int], num_classes: int | None) -> None:
    """Hold a teacher's `config.json` against the dataset, before anything is downloaded.

    Args:
        folder: a flat folder in diffusers' format.
        image_shape: channels, height, width.
        num_classes: None for an unconditional model; a conditional one may have a null class on top.

    Raises:
        ValueError: a file is missing, or the shape or the classes do not fit; names key, value and cure.
    """
    for pattern in ("config.json", "scheduler_config.json", "*.safetensors"):
        if not any(folder.glob(pattern)):
            raise ValueError(f"teacher.source: {folder} holds no {pattern}; name a flat folder in diffusers' format")
    config, (channels, height, width) = load_json(folder / "config.json"), image_shape
    sizes = (None, height, [height, width]) if height == width else (None, [height, width])
    classes = (None,) if num_classes is None else (num_classes + 1, num_classes)
    for key, allowed, source in (
        ("in_channels", (channels,), f"image_shape {list(image_shape)}"),
        ("out_channels", (channels,), f"image_shape {list(image_shape)}"),
        ("sample_size", sizes, f"image_shape {list(image_shape)}"),
        ("num_class_embeds", classes, f"num_classes {num_classes}"),
    ):
        if config.get(key) not in allowed:
            needed = " or ".join(str(value) for value in allowed if value is not None or len(allowed) == 1)
            raise ValueError(
                f"{folder / 'config.json'}: {key} is {config.get(key)}, but dataset.{source} needs {needed}; "
                "set teacher.source to a teacher that fits, or change the dataset"
            )


def find_teacher(source: str, downloads: Path, timeout: float) -> Path | None:
    """The folder that `teacher.source` names; a hub id is downloaded, JSON and safetensors only.

    Args:
        source: a local folder, a hub id `org/name`, or `train`.
        downloads: the folder of downloads; a hub model is kept there and used again without the network.
        timeout: seconds that the hub may stay silent.

    Returns:
        The folder; None for `train`.

    Raises:
        ValueError: neither a folder nor a hub id.
        DownloadError: the hub did not serve it; names the folder to put it into by hand.
    """
    if source == "train":
        return None
    if Path(source).is_dir():
        return Path(source)
    if not HUB_ID.fullmatch(source):
        raise ValueError(f"teacher.source {source!r}: no such folder, and no hub id `org/name`; or take `train`")
    folder = downloads / "hub" / source.replace("/", "--")
    if not folder.is_dir():
        _snapshot(source, folder, timeout)
    return folder


def place_teacher(source: Path | None, folder: Path) -> None:
    """Copy a teacher's files; only a manifest when it is to be trained.

    Raises:
        ValueError: the provenance beside it names another hash.
    """

    def fill() -> None:
        if source is not None:
            check_provenance(source, required=False)
            for pattern in ("config.json", "scheduler_config.json", "provenance.json", "*.safetensors"):
                for path in source.glob(pattern):
                    shutil.copyfile(path, folder / path.name)

    _make(folder, fill)


def place_features(source: Path, folder: Path) -> None:
    """Copy a feature net that ships with the project, checked against the hash in its `provenance.json`.

    Raises:
        ValueError: a file is missing or is not the one of its provenance.
    """

    def fill() -> None:
        check_provenance(source, required=True)
        for name in ("config.json", MODEL):
            if not (source / name).is_file():
                raise ValueError(f"{source}: no {name}; check the files out again")
            shutil.copyfile(source / name, folder / name)

    _make(folder, fill)


def place_perceptual(name: str, downloads: Path, folder: Path) -> None:
    """Convert the downloaded weights of a perceptual distance to safetensors; only a manifest for `pixel`.

    `stlpips-*` gives `model.safetensors`, the whole metric. `lpips-*` gives `backbone.safetensors`, the
    `features.*` part of torchvision's model, which is all that LPIPS uses.

    Raises:
        DownloadError: `downloads` does not hold the original.
    """

    def fill() -> None:
        source = sources.perceptual(name)
        if source is None:
            return
        kind, _, backbone = name.partition("-")
        path = find(source.originals[0], downloads)
        if path is None:
            raise DownloadError(f"{source.originals[0].name} is not in {downloads}; run fetch again")
        if kind == "lpips":
            tensors = _tensors(path)
            kept = {key: tensors[key] for key in tensors if key.startswith("features.")}
            save_tensors(folder / "backbone.safetensors", kept)
        else:
            with tempfile.TemporaryDirectory() as scratch:
                (member,) = extract(path, [sources.stlpips_member(backbone)], Path(scratch))
                save_tensors(folder / "model.safetensors", _tensors(member))

    _make(folder, fill)


def check_provenance(folder: Path, required: bool) -> None:
    """Hold the weights against the key `sha256` of the `provenance.json` beside them.

    Raises:
        ValueError: the hashes differ, or there is no provenance though it is required.
    """
    path = folder / "provenance.json"
    wanted = load_json(path).get("sha256") if path.is_file() else None
    if wanted is None:
        if required:
            raise ValueError(f"{path}: no key sha256 of {MODEL}; check the files out again")
        return
    found = file_sha256(folder / MODEL) if (folder / MODEL).is_file() else "no such file"
    if found != wanted:
        raise ValueError(f"{folder / MODEL}: sha256 {found}, but {path.name} says {wanted}; check the files out again")


def _make(folder: Path, fill: Callable[[], None]) -> None:
    """Empty the folder, fill it, and write the manifest last."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    fill()
    files = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
    save_json(folder / "manifest.json", {"files": files})
    logger.info("%s: %s", folder, ", ".join(files) or "nothing needed")


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a PyTorch file; nothing else in it is loaded or run."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {key: value.clone().contiguous() for key, value in state.items()}


def _snapshot(source: str, folder: Path, timeout: float) -> None:
    """Download a hub model beside `folder`, then rename: the folder is there only if it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=folder.parent) as scratch:
        try:
            snapshot_download(
                source,
                local_dir=Path(scratch) / "model",
                allow_patterns=["*.json", "*.safetensors"],
                etag_timeout=timeout,
            )
        except (OSError, ValueError) as error:
            raise DownloadError(
                f"teacher.source {source!r}: no such folder, and the hub did not serve it: {error}\n"
                f"Put the model's JSON and safetensors files by hand into {folder.absolute()}"
            ) from error
        (Path(scratch) / "model").rename(folder)

"""Teachers that are published as a pickle in a zip file: known by address and hash, converted once to safetensors."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from dmd.fetch.archives import extract, find_member
from dmd.fetch.conversions import convert_into
from dmd.fetch.downloads import Original, obtain, place
from dmd.fetch.mirrors import HttpMirror
from dmd.fetch.weights_folder import read_pickle
from dmd.models.compatibility import SCHEDULE_KEYS
from dmd.models.teapearce import TeaPearceUNet, schedule_tables
from dmd.runtime.files import save_json

TABLE_TOLERANCE = 1e-3
"""Relative; the public code computed its tables in float32."""


@dataclass(frozen=True)
class Archive:
    """A published zip file."""

    original: Original
    """Its name and hash."""
    member: str
    """Name of the pickled weights in it, in whatever folder."""


ARCHIVES = {
    "https://github.com/TeaPearce/Conditional_Diffusion_MNIST/raw/657b498/pretrained_model.zip": Archive(
        Original("pretrained_model.zip", "git-blob", "bb6b05ebe5fbda64b38e2a9d52c326d7936ee9a4"), "model_39.pth"
    )
}
"""By address. Only files with a known hash are taken: a pickle from anywhere else is refused."""


def archive_origin(address: str) -> dict[str, str]:
    """What provenance keeps of an archive: its hash."""
    original = ARCHIVES[address].original
    return {original.algorithm: original.digest}


def import_archive(address: str, downloads: Path, timeout: float) -> Path:
    """Download an archive if `downloads` does not hold it, and convert its network to a diffusers folder.

    Args:
        address: a key of `ARCHIVES`.
        downloads: the folder of downloads; a zip file put there by hand is used without the network.
        timeout: seconds that the server may stay silent.

    Returns:
        The folder, in `downloads`: `config.json`, `diffusion_pytorch_model.safetensors`, `scheduler_config.json`.

    Raises:
        ValueError: an unknown address, or weights of another network or schedule.
        DownloadError: the file cannot be had; names where to put it by hand.
        ArchiveError: the zip file does not hold the weights.
    """
    if address not in ARCHIVES:
        raise ValueError(f"teacher.source {address!r}: not a known archive; these are: {', '.join(ARCHIVES)}")
    archive = ARCHIVES[address]
    original = archive.original
    mirror = HttpMirror("address", address.removesuffix(original.name), {original.name: original})
    obtain([original], [mirror], downloads, timeout)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / original.name
        place(original, downloads, path)
        (pickled,) = extract(path, [find_member(path, archive.member)], Path(scratch))
        backbone = convert(read_pickle(pickled))

    def fill(part: Path) -> None:
        backbone.save_pretrained(part, safe_serialization=True)
        fixed = {"beta_schedule": "linear", "prediction_type": "epsilon"}
        schedule = {key: fixed.get(key, backbone.config.get(key)) for key in SCHEDULE_KEYS}
        save_json(part / "scheduler_config.json", schedule)

    return convert_into(downloads / "archives" / original.digest, fill, anew=True)


def convert(tensors: dict[str, Tensor]) -> TeaPearceUNet:
    """The network of a state dict of TeaPearce's code; its width is the state's, its betas are the published ones.

    Raises:
        ValueError: entries are missing, unknown or of another shape, or the tables are those of other betas.
    """
    key = "nn_model.init_conv.conv1.0.weight"
    if key not in tensors:
        raise ValueError(f"the archive's weights have no {key}: they are of another network")
    backbone = TeaPearceUNet(width=len(tensors[key]))
    try:
        backbone.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"the archive's weights do not fit the network: {error}") from error
    config = backbone.config
    own = schedule_tables(config["num_train_timesteps"], config["beta_start"], config["beta_end"])
    for name, table in own.items():
        if not tensors[name].double().sub(table).abs().le(TABLE_TOLERANCE * table.abs()).all():
            raise ValueError(f"the archive's table {name} is not that of betas 1e-4 … 2e-2 and T = 400")
    return backbone.eval()

"""The weights of a perceptual distance put in place."""

import tempfile
from pathlib import Path

from dmd.fetch import sources
from dmd.fetch.archives import extract
from dmd.fetch.downloads import DownloadError, find
from dmd.fetch.weights_folder import make_folder, read_pickle
from dmd.runtime.files import save_tensors


def place_perceptual(name: str, downloads: Path, folder: Path) -> None:
    """Convert the downloaded weights of a perceptual distance to safetensors; only a manifest for `pixel`.

    `stlpips-*` gives `model.safetensors`, the whole metric. `lpips-*` gives `backbone.safetensors`, the
    `features.*` part of torchvision's model, which is all that LPIPS uses.

    Raises:
        DownloadError: `downloads` does not hold the original.
    """

    def fill(part: Path) -> None:
        source = sources.perceptual(name)
        if source is None:
            return
        kind, _, backbone = name.partition("-")
        path = find(source.originals[0], downloads)
        if path is None:
            raise DownloadError(f"{source.originals[0].name} is not in {downloads}; run fetch again")
        if kind == "lpips":
            tensors = read_pickle(path)
            kept = {key: tensors[key] for key in tensors if key.startswith("features.")}
            save_tensors(part / "backbone.safetensors", kept)
        else:
            with tempfile.TemporaryDirectory() as scratch:
                (member,) = extract(path, [sources.stlpips_member(backbone)], Path(scratch))
                save_tensors(part / "model.safetensors", read_pickle(member))

    make_folder(folder, fill)

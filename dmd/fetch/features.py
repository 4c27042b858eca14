"""The weights of feature nets that do not ship with the project, as folders that `dmd.features.feature_net` loads."""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from torch import Tensor

from dmd.fetch import sources
from dmd.fetch.diffusers_layout import read_object
from dmd.fetch.downloads import DownloadError, find
from dmd.fetch.weights_folder import check_provenance, make_folder, read_pickle
from dmd.runtime.files import save_json, save_tensors

STAGES = (1, 2, 2, 3, 3, 4, 1)
"""Blocks in each stage of EfficientNet-Lite0."""

EXPANDED = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"} | {
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
AROUND = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
"""Layers by their name in the file, and by timm's: in a block, in the first block, around the blocks."""


CLASSES_OF = {"lenet": "mnist", "fashion_lenet": "fashion_mnist"}
"""The dataset whose classes a feature net tells, where it tells some."""


def check_feature_net(name: str, dataset: str, image_shape: Sequence[int], num_classes: int | None) -> None:
    """Hold a feature net against the images and their classes, before anything is downloaded.

    Raises:
        ValueError: it takes images of another shape, or tells another dataset's classes; names both, and the nets that
            take any.
    """
    told = CLASSES_OF.get(name, dataset)
    if num_classes is not None and told != dataset:
        raise ValueError(
            f"evaluate.features {name} tells the classes of {told}, but dataset.name is {dataset}: it would score "
            "class_accuracy by them; take efficientnet_lite0 or inception"
        )
    path = Path("assets") / name / "config.json"
    config = read_object(path) if sources.features(name) is None and path.is_file() else {}
    size = config.get("image_size")
    if size is not None and list(image_shape) != [config["in_channels"], size, size]:
        raise ValueError(
            f"evaluate.features {name} takes images of {[config['in_channels'], size, size]}, but dataset.image_shape "
            f"is {list(image_shape)}; take efficientnet_lite0 or inception"
        )


def place_feature_net(name: str, downloads: Path, folder: Path) -> None:
    """Put a feature net's `config.json` and weights into `folder`: from assets/, or converted from its download.

    Raises:
        DownloadError: `downloads` does not hold the original.
        ValueError: a shipped file is not that of its provenance, or the download holds other tensors than it should.
    """
    source = sources.features(name)
    if source is None:
        place_features(Path("assets") / name, folder)
        return

    def fill(part: Path) -> None:
        path = find(source.originals[0], downloads)
        if path is None:
            raise DownloadError(f"{source.originals[0].name} is not in {downloads}; run fetch again")
        tensors = read_pickle(path)
        kind = "InceptionV3" if name == "inception" else "EfficientNetLite0"
        named = inception_tensors(tensors) if name == "inception" else efficientnet_tensors(tensors)
        save_json(part / "config.json", {"_class_name": kind})
        save_tensors(part / SAFETENSORS_WEIGHTS_NAME, named)

    make_folder(folder, fill)


def inception_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the classifier, under `body`; old files do not count batches, which nothing here reads."""
    named = {f"body.{key}": value for key, value in tensors.items() if not key.startswith("fc.")}
    counts = [key.replace("running_mean", "num_batches_tracked") for key in named if key.endswith("running_mean")]
    return {key: torch.tensor(0) for key in counts} | named


def efficientnet_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Under timm's names, without the classifier.

    Raises:
        ValueError: a tensor that EfficientNet-Lite0 does not have.
    """
    return {f"body.{_timm_name(key)}": value for key, value in tensors.items() if not key.startswith("_fc.")}


def _timm_name(key: str) -> str:
    places = [f"blocks.{stage}.{block}" for stage, count in enumerate(STAGES) for block in range(count)]
    found = re.fullmatch(r"(?:_blocks\.(\d+)\.)?(_\w+)\.(\w+)", key)
    number = int(found[1]) if found and found[1] else None
    names = AROUND if number is None else EXPANDED if number else PLAIN
    if found is None or found[2] not in names or (number or 0) >= len(places):
        raise ValueError(f"EfficientNet-Lite0 has no tensor {key!r}; fetch its weights again")
    layer = f"{names[found[2]]}.{found[3]}"
    return layer if number is None else f"{places[number]}.{layer}"


def place_features(source: Path, folder: Path) -> None:
    """Copy a feature net that ships with the project, checked against the hash in its `provenance.json`.

    Raises:
        ValueError: a file is missing or is not the one of its provenance.
    """

    def fill(part: Path) -> None:
        check_provenance(source, required=True)
        for name in ("config.json", SAFETENSORS_WEIGHTS_NAME):
            if not (source / name).is_file():
                raise ValueError(f"{source}: no {name}; check the files out again")
            shutil.copyfile(source / name, part / name)

    make_folder(folder, fill)

"""Weights in every layout that diffusers writes become the network that diffusers reads; what is none is named."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel
from diffusers.utils.hub_utils import _add_variant
from safetensors.torch import save_file

from dmd.fetch.diffusers_layout import VARIANTS, WEIGHTS, Layout
from dmd.fetch.pointers import START
from dmd.fetch.teacher import find_teacher, place_teacher
from dmd.models.backbones import load_backbone
from dmd.runtime.files import file_sha256, load_json

POINTER = START + b"v1\noid sha256:" + b"0" * 64 + b"\nsize 2600000\n"
MODEL = "diffusion_pytorch_model"


def write(folder: Path, **how: Any) -> UNet2DModel:
    """A tiny model in the Hub's layout, in half precision for a variant of that name; returns what diffusers saved."""
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    shape = {"sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "norm_num_groups": 4}
    network = UNet2DModel(**shape, **blocks, block_out_channels=(8, 16))
    (network.half() if how.get("variant") else network).save_pretrained(folder / "unet", **how)
    (folder / "scheduler").mkdir()
    (folder / "scheduler/scheduler_config.json").write_text("{}")
    index = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "X"], "safety_checker": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return network


def bring(folder: Path) -> Path:
    """What `fetch` makes of it."""
    place_teacher(find_teacher(str(folder), None, folder, 1.0), folder / "out")
    return folder / "out"


@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize("size", ["1GB", "10KB"])
@pytest.mark.parametrize("safe", [True, False])
def test_what_diffusers_saves_is_read_as_diffusers_reads_it(
    tmp_path: Path, variant: str | None, size: str, safe: bool
) -> None:
    write(tmp_path, variant=variant, max_shard_size=size, safe_serialization=safe)
    files = sorted(path for path in (tmp_path / "unet").iterdir() if path.suffix in (".safetensors", ".bin"))
    assert (len(files) > 1) == (size == "10KB")
    out = bring(tmp_path)
    found = load_backbone(out).state_dict()
    wanted = UNet2DModel.from_pretrained(tmp_path / "unet", variant=variant, use_safetensors=safe).float().state_dict()
    assert found.keys() == wanted.keys()
    assert all(found[key].dtype == torch.float32 and torch.equal(found[key], wanted[key]) for key in wanted)
    hashes = load_json(out / "origin.json").get("sha256_of_parts", {})
    assert hashes == ({path.name: file_sha256(path) for path in files} if len(files) > 1 else {})


def test_the_whole_precision_is_taken_where_there_are_two(tmp_path: Path) -> None:
    network = write(tmp_path)
    wanted = network.conv_in.weight.clone()
    network.half().save_pretrained(tmp_path / "unet", variant="fp16")
    assert torch.equal(load_backbone(bring(tmp_path)).conv_in.weight, wanted)


def test_names_of_variants_are_diffusers() -> None:
    wanted = [f"unet/{_add_variant(name, variant or None)}" for variant in VARIANTS for name in WEIGHTS]
    assert Layout("unet/config.json", "scheduler/scheduler_config.json").weights == wanted


@pytest.mark.parametrize("name", [f"{MODEL}.safetensors", f"{MODEL}.bin", f"{MODEL}.safetensors.index.json", "part"])
def test_a_pointer_of_git_lfs_is_named_with_its_cure(tmp_path: Path, name: str) -> None:
    write(tmp_path, max_shard_size="10KB")
    path = sorted((tmp_path / "unet").glob("*-of-*"))[0] if name == "part" else tmp_path / "unet" / name
    if not name.endswith("json") and name != "part":
        (tmp_path / "unet" / f"{MODEL}.safetensors.index.json").unlink()
    path.write_bytes(POINTER)
    with pytest.raises(ValueError, match=rf"{path.name}: only a Git-LFS pointer .*`git lfs pull`"):
        bring(tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["unet/config.json", "scheduler/scheduler_config.json", "model_index.json"])
@pytest.mark.parametrize("content", [POINTER, b"[]", b'[["_class_name", "UNet2DModel"]]', b"[" * 10**5, b"\xff", b""])
def test_a_description_that_is_no_json_object_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    write(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}:? .*(is no JSON|is not as it was written|git lfs pull)"):
        find_teacher(str(tmp_path), None, tmp_path, 1.0).configs  # noqa: B018 (a property that reads)


@pytest.mark.parametrize("listed", [None, {}, [], {"a": 3}, {"a": "../other.safetensors"}, {"a": ".."}, {"a": ""}])
def test_an_index_that_lists_no_files_beside_it_is_refused(tmp_path: Path, listed: object) -> None:
    write(tmp_path, max_shard_size="10KB")
    path = tmp_path / "unet" / f"{MODEL}.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": listed}))
    with pytest.raises(ValueError, match=rf"{path.name}: weight_map lists no files"):
        bring(tmp_path)


def test_cut_weights_are_named_and_torchs_advice_is_not_passed_on(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "unet" / f"{MODEL}.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(ValueError, match=rf"{path.name}: cut, or no safetensors file: .*; bring it again"):
        bring(tmp_path)
    path.unlink()
    torch.save({"weight": Path("no tensor")}, path.with_suffix(".bin"))
    with pytest.raises(ValueError, match=r"bin: refused: it is cut, or holds more than named tensors") as error:
        bring(tmp_path)
    assert "weights_only" not in str(error.value)


@pytest.mark.parametrize("kept", [2_000, 20_000, 70_000])  # at 20,000 torch itself says EINVAL
def test_pytorch_weights_that_are_cut_are_named(kept: int, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "unet" / f"{MODEL}.safetensors").unlink()
    path = tmp_path / "unet" / f"{MODEL}.bin"
    torch.save({"weight": torch.zeros(30_000)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"bin: refused: it is cut"):
        bring(tmp_path)


def test_a_provenance_that_is_a_list_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    save_file({"weight": torch.zeros(1)}, tmp_path / "unet" / f"{MODEL}.safetensors")
    (tmp_path / "provenance.json").write_text("[]")
    with pytest.raises(ValueError, match=r"provenance.json is not as it was written .*dictionary\); restore the file"):
        bring(tmp_path)

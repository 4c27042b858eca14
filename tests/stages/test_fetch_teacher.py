"""Stage `fetch`: which teachers are taken, from where, and what is refused before any work."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from dmd.fetch.downloads import DownloadError
from tests.stages.test_fetch import MODEL, TEACHER, no_network, root, run, sha256, write_model

__all__ = ["no_network", "root"]  # fixtures


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        ({**TEACHER, "in_channels": 3}, {}, r"in_channels is 3, but dataset.image_shape \[1, 28, 28\] needs 1"),
        ({**TEACHER, "sample_size": 32}, {}, "sample_size is 32.*needs 28"),
        ({**TEACHER, "sample_size": [28, 32]}, {}, r"sample_size is \[28, 32\]"),
        (
            {**TEACHER, "num_class_embeds": None},
            {},
            "num_class_embeds is None, but dataset.num_classes 10 needs 11 or 10",
        ),
        ({**TEACHER, "num_class_embeds": 9}, {}, "num_class_embeds is 9"),
        (TEACHER, {"dataset__num_classes": None}, "num_class_embeds is 11, but dataset.num_classes None needs None"),
        (TEACHER, {"dataset__image_shape": [1, 32, 32]}, "dataset.image_shape"),
        (
            {**TEACHER, "num_class_embeds": 10},
            {"guidance_scale": 1.5},
            "guidance_scale 1.5 needs a null class, but the teacher has 10 class embeddings for 10 classes",
        ),
        (
            {**TEACHER, "_class_name": "TeaPearceUNet"},
            {"distill__gradient_checkpointing": True},
            "distill.gradient_checkpointing true: the teacher's network, TeaPearceUNet, does not support it",
        ),
        (TEACHER, {"teacher__revision": "a" * 40}, "teacher.revision a{40} is of a hub id, but .*teacher is a folder"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_before_any_work(root, config, changes, message):
    shutil.rmtree(root / "downloads")
    write_model(root / "assets/mnist-small/teacher", config)
    with pytest.raises(ValueError, match=message):
        run(root, **changes)
    assert not (root / "data").exists()


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("config", "classes"),
    [({**TEACHER, "num_class_embeds": 10, "sample_size": [28, 28]}, 10), ({**TEACHER, "num_class_embeds": None}, None)],
)
def test_other_teachers_that_fit_are_taken(root, config, classes):
    write_model(root / "assets/mnist-small/teacher", config)
    data = run(root, dataset__num_classes=classes, guidance_scale=1.0)
    assert json.loads((data / "weights/teacher/config.json").read_text()) == config


def test_a_teacher_source_that_is_nothing_is_refused(root):
    with pytest.raises(ValueError, match=r"teacher.source 'assets/no/such': no such folder"):
        run(root, teacher__source="assets/no/such")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("revision", [None, "a" * 40])
def test_a_hub_model_put_by_hand_is_used(root, revision):
    folder = root / "downloads/hub/someone--digits" / (revision or "main")
    write_model(folder, TEACHER, provenance=False)
    data = run(root, teacher__source="someone/digits", teacher__revision=revision)
    assert torch.equal(load_file(data / "weights/teacher" / MODEL)["weight"], torch.arange(4.0))
    origin = json.loads((data / "weights/teacher/origin.json").read_text())
    assert origin == {"source": "someone/digits", "revision": revision or "main"}


def test_a_hub_that_does_not_answer_says_where_to_put_the_files(root, monkeypatch):
    def cut(*_: object, **__: object) -> None:
        raise ConnectionError("cut")

    monkeypatch.setattr("dmd.fetch.hub.snapshot_download", cut)
    with pytest.raises(DownloadError, match=r"'someone/digits'.*cut\n.*downloads/hub/someone--digits/main"):
        run(root, teacher__source="someone/digits")
    assert not (root / "data").exists()


@pytest.mark.usefixtures("no_network")
def test_both_layouts_and_a_pickle_become_the_same_flat_folder(root):
    tensors = {"weight": torch.arange(4.0)}
    for name, parts in (("flat", ("", "")), ("parts", ("unet/", "scheduler/"))):
        for part, file, content in zip(parts, ("config.json", "scheduler_config.json"), (TEACHER, {}), strict=True):
            (root / name / part).mkdir(parents=True, exist_ok=True)
            (root / name / part / file).write_text(json.dumps(content))
    save_file(tensors, root / "flat" / MODEL)
    torch.save(tensors, root / "parts/unet/diffusion_pytorch_model.bin")
    for name in ("flat", "parts"):
        folder = run(root, teacher__source=name) / "weights/teacher"
        assert set(os.listdir(folder)) == {
            "config.json",
            "scheduler_config.json",
            MODEL,
            "origin.json",
            "manifest.json",
        }
        assert torch.equal(load_file(folder / MODEL)["weight"], tensors["weight"])
        assert json.loads((folder / "origin.json").read_text()) == {"source": name}


def write_parts(folder, tensors) -> dict[str, str]:
    """A teacher with each tensor in a part of its own; returns the parts' hashes."""
    folder.mkdir()
    for file, content in (("config.json", TEACHER), ("scheduler_config.json", {})):
        (folder / file).write_text(json.dumps(content))
    names = {key: f"diffusion_pytorch_model-{k}-of-{len(tensors)}.safetensors" for k, key in enumerate(tensors, 1)}
    for key, name in names.items():
        save_file({key: tensors[key]}, folder / name)
    (folder / f"{MODEL}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return {name: sha256(folder / name) for name in names.values()}


@pytest.mark.usefixtures("no_network")
def test_weights_in_parts_become_one_file(root):
    tensors = {"one": torch.arange(4.0).half(), "two": torch.arange(9.0), "three": torch.tensor(3)}
    parts = write_parts(root / "teacher", tensors)
    (root / "teacher/provenance.json").write_text(json.dumps({"sha256_of_parts": parts}))
    folder = run(root, teacher__source="teacher") / "weights/teacher"
    found = load_file(folder / MODEL)
    assert found.keys() == tensors.keys()
    assert all(found[key].dtype == value.dtype and torch.equal(found[key], value) for key, value in tensors.items())
    assert len(list(folder.glob("*.safetensors"))) == 1


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("known", [True, False])
def test_a_part_that_is_missing_or_another_is_refused_by_name(root, known):
    parts = write_parts(root / "teacher", {"one": torch.arange(4.0), "two": torch.arange(9.0)})
    first = next(iter(parts))
    if known:
        (root / "teacher/provenance.json").write_text(json.dumps({"sha256_of_parts": parts}))
        save_file({"one": torch.arange(4.0) + 1}, root / "teacher" / first)
    else:
        (root / "teacher" / first).unlink()
    with pytest.raises(ValueError, match=first):
        run(root, teacher__source="teacher")
    assert not (root / "data/mnist-small/weights/teacher").exists()


class Runs:
    """Unpickling it makes a folder."""

    def __reduce__(self):
        return os.mkdir, ("made-by-a-pickle",)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("content", [{"weight": Runs()}, [1.0], {"weight": 3}, b"cut"])
def test_a_pickle_of_more_than_tensors_is_refused_and_not_run(root, content):
    write_model(root / "pickled", TEACHER, provenance=False)
    (root / "pickled" / MODEL).unlink()
    path = root / "pickled/diffusion_pytorch_model.bin"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ValueError, match=r"diffusion_pytorch_model\.bin: refused.*published as safetensors"):
        run(root, teacher__source="pickled")
    assert not (root / "made-by-a-pickle").exists()


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model_index.json", {"unet": ["diffusers", "UNet2DModel"], "vqvae": ["diffusers", "VQModel"]}, "has vqvae"),
        ("config.json", None, r"neither unet/config\.json nor config\.json"),
        ("scheduler_config.json", None, r"neither scheduler/scheduler_config\.json nor"),
        ("scheduler_config.json", [1], r"scheduler_config\.json is not as it was written"),
        (MODEL, None, rf"holds no {MODEL}"),
    ],
)
def test_a_folder_that_is_no_model_of_pixels_is_refused(root, name, content, message):
    write_model(root / "given", TEACHER, provenance=False)
    (root / "given" / name).unlink(missing_ok=True)
    if content is not None:
        (root / "given" / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        run(root, teacher__source="given")

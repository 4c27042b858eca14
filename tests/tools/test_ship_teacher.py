"""A teacher as it is shipped: the same numbers, but for parameters of large networks, which are rounded to float16."""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch

from dmd.fetch import sources
from dmd.fetch.downloads import Original
from dmd.models.backbones import load_backbone
from dmd.models.teacher import Teacher
from dmd.params.config import Config, load_config
from dmd.runtime.files import file_sha256, load_json, save_json
from dmd.teacher.network import build_backbone
from dmd.teacher.scheduler import scheduler_config
from stages import fetch, teacher
from tests.stages.test_latent_training import ROOT, SYSTEM, params, system
from tools import ship_teacher
from tools.ship_teacher import hashes, place_teacher

SCHEDULE = {
    "num_train_timesteps": 20,
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 2e-2,
    "prediction_type": "epsilon",
}
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    backbone = build_backbone({"kind": "teapearce", "width": 8}, SCHEDULE, (1, 28, 28), 5)
    Teacher(backbone, scheduler_config(backbone, {"_class_name": "DDPMScheduler", **SCHEDULE})).save(
        tmp_path / "staged"
    )
    return tmp_path / "staged"


def test_a_small_one_is_copied(staged: Path, tmp_path: Path) -> None:
    place_teacher(staged, tmp_path / "out")
    for path in staged.iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    assert hashes(tmp_path / "out") == {"sha256": file_sha256(staged / WEIGHTS)}


@pytest.mark.parametrize("parts", [1, 3])
def test_parameters_of_a_large_one_are_rounded_and_nothing_else(
    staged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    size = (staged / WEIGHTS).stat().st_size
    monkeypatch.setattr(ship_teacher, "LARGEST", size * 2 // 3 if parts == 1 else size // 3)
    monkeypatch.setattr(ship_teacher, "PART", size // 5)
    out = tmp_path / "out"
    place_teacher(staged, out)
    files = sorted(out.glob("*.safetensors"))
    assert len(files) == parts
    assert all(path.stat().st_size <= ship_teacher.LARGEST for path in files)
    found = hashes(out)
    assert (found == {"sha256": file_sha256(files[0])}) == (parts == 1)
    assert parts == 1 or found["sha256_of_parts"] == {path.name: file_sha256(path) for path in files}
    before, after = load_backbone(staged), load_backbone(out)
    parameters = dict(before.named_parameters())
    for name, value in after.state_dict().items():
        exact = before.state_dict()[name]
        assert value.dtype == exact.dtype
        assert torch.equal(value, exact.half().float() if name in parameters else exact)
    assert (
        Teacher.load(out).schedule.alpha(torch.arange(20)).equal(Teacher.load(staged).schedule.alpha(torch.arange(20)))
    )


@pytest.fixture(scope="module")
def latent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a tiny teacher of latents that the stage has trained, and the images of it as downloads."""
    root = tmp_path_factory.mktemp("shipped")
    config = system(root)
    shutil.copytree(ROOT / "assets" / "lenet", root / "assets" / "lenet")
    shutil.copytree(root / "data" / SYSTEM / "dataset", root / "downloads")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        teacher.main(config)
    return root


@pytest.fixture
def trained(latent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Its params, in a copy of the root, where few samples are scored."""
    shutil.copytree(latent, tmp_path / "root")
    monkeypatch.chdir(tmp_path / "root")
    monkeypatch.setattr(ship_teacher, "SAMPLES", 20)
    monkeypatch.delenv("DMD_DOWNLOADS", raising=False)
    files = [
        Original(path.name, "md5", hashlib.md5(path.read_bytes()).hexdigest()) for path in Path("downloads").iterdir()
    ]
    monkeypatch.setattr(sources, "MNIST_FILES", tuple(files))
    return load_config(Path("params.yaml"))


def test_a_teacher_of_latents_is_taken_back_with_the_same_weights(trained: Config) -> None:
    staged, out = Path("models", SYSTEM, "teacher"), Path("assets", SYSTEM, "teacher")
    ship_teacher.main(trained)
    kept, facts = load_json(out / "provenance.json"), load_json(staged / "training.json")
    assert {name: kept[name] for name in ("sha256", "codec_sha256")} == hashes(staged) == hashes(out)
    assert {name: kept[name] for name in facts} == facts
    assert facts["codec"]["steps"] == facts["steps"] == kept["images_seen"] // 4
    assert kept["scores"]["fd_lenet"] > 0
    assert kept["seconds"] is None
    before = Teacher.load(staged)
    shutil.rmtree(staged)
    config = load_config(params(Path(), teacher__source=out.as_posix()))
    fetch.main(config)
    teacher.main(config)
    after = Teacher.load(staged)
    assert before.autoencoder is not None
    assert after.autoencoder is not None
    assert after.autoencoder.config.scaling_factor == before.autoencoder.config.scaling_factor
    for old, new in ((before.backbone, after.backbone), (before.autoencoder, after.autoencoder)):
        assert new.state_dict().keys() == old.state_dict().keys()
        assert all(torch.equal(value, old.state_dict()[name]) for name, value in new.state_dict().items())


def test_what_is_scored_is_what_was_shipped(trained: Config) -> None:
    staged = Path("models", SYSTEM, "teacher-trained")
    shutil.move(Path("models", SYSTEM, "teacher"), staged)
    ship_teacher.ship(trained, staged, {"seconds": 3})
    provenance = Path("assets", SYSTEM, "teacher", "provenance.json")
    first = load_json(provenance)
    assert first["seconds"] == 3
    shutil.copytree(staged, Path("models", SYSTEM, "teacher"))
    ship_teacher.main(trained)
    assert load_json(provenance)["scores"] == first["scores"]


def test_a_large_codec_is_rounded_and_the_network_beside_it_is_not(
    trained: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged, out = Path("models", SYSTEM, "teacher"), tmp_path / "out"
    network, codec = ((staged / part / WEIGHTS).stat().st_size for part in ("", "codec"))
    assert network < codec
    monkeypatch.setattr(ship_teacher, "LARGEST", (network + codec) // 2)
    place_teacher(staged, out)
    assert (out / WEIGHTS).read_bytes() == (staged / WEIGHTS).read_bytes()
    before, after = Teacher.load(staged).autoencoder, Teacher.load(out).autoencoder
    assert before is not None
    assert after is not None
    assert all(
        torch.equal(value, before.state_dict()[name].half().float()) for name, value in after.state_dict().items()
    )


WRONG = {
    "brought": ("provenance.json", {"source": "assets/x"}, "not trained by"),
    "another seed": ("provenance.json", {"seed": 7}, "'seed': 7"),
    "other steps": ("training.json", {"steps": 5}, "'steps': 5"),
    "another codec": ("training.json", {"codec": {"steps": 6}}, "'codec.steps': 6"),
    "other weights": ("provenance.json", {"codec_sha256": "0" * 64}, "codec.*sha256"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_was_not_trained_by_the_params_is_refused(trained: Config, case: str) -> None:
    name, change, message = WRONG[case]
    path = Path("models", SYSTEM, "teacher", name)
    save_json(path, {**load_json(path), **change})
    with pytest.raises(ValueError, match=message):
        ship_teacher.main(trained)
    assert not Path("assets", SYSTEM).exists()

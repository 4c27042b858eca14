"""A teacher as it is shipped: the same numbers, but for parameters of large networks, which are rounded to float16."""

from pathlib import Path

import pytest
import torch

from dmd.models.backbones import load_backbone
from dmd.models.teacher import Teacher
from dmd.runtime.files import file_sha256
from dmd.teacher.network import build_backbone
from dmd.teacher.scheduler import scheduler_config
from tools import train_teacher
from tools.train_teacher import hashes, place_weights

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
    place_weights(staged, tmp_path / "out")
    for path in staged.iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    assert hashes(tmp_path / "out") == {"sha256": file_sha256(staged / WEIGHTS)}


@pytest.mark.parametrize("parts", [1, 3])
def test_parameters_of_a_large_one_are_rounded_and_nothing_else(
    staged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    size = (staged / WEIGHTS).stat().st_size
    monkeypatch.setattr(train_teacher, "LARGEST", size * 2 // 3 if parts == 1 else size // 3)
    monkeypatch.setattr(train_teacher, "PART", size // 5)
    out = tmp_path / "out"
    place_weights(staged, out)
    files = sorted(out.glob("*.safetensors"))
    assert len(files) == parts
    assert all(path.stat().st_size <= train_teacher.LARGEST for path in files)
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

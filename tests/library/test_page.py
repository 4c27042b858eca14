"""docs/library.md holds, with the wheel alone; and the surface that it speaks of is what there is."""

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

import dmd
from tests.architecture.sources import ROOT
from tests.architecture.test_shape import ROOMS
from tests.library.gaussian import SCHEDULE

PAGE = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
CODE = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
AFTER = """
import json
from pathlib import Path


def columns(samples: torch.Tensor) -> list[int]:  # how many samples are brightest in each
    return torch.bincount(samples.mean(dim=(1, 2)).argmax(dim=1), minlength=8).tolist()


fresh = dmd.draw_pairs(teacher, 512, seed=1)
models = {"before": dmd.Generator(teacher.denoiser, settings.generator_timesteps), "after": distilled.generator}
with torch.no_grad():
    drawn = {name: model(fresh.z) for name, model in models.items()} | {"teacher": fresh.x0, "data": images}
found = {
    name: {
        "columns": columns(samples),
        "deviation": samples.std(dim=0).mean().item(),
        "error": (samples - fresh.x0).square().mean().item() if len(samples) == 512 else None,
    }
    for name, samples in drawn.items()
}
Path("found.json").write_text(json.dumps({"file": dmd.__file__, "modules": sorted(sys.modules), **found}))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install` of the wheel puts beside the libraries."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("dmd", "stages"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, folder / "source" / name)
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(folder)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(folder / "source")]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("dmd-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_thirty_lines_distil_a_network_in_memory_with_the_wheel_alone(site: Path, tmp_path: Path) -> None:
    assert len([line for line in CODE.splitlines() if line.strip()]) <= 30
    (tmp_path / "mine.py").write_text(
        f"import sys\n\nimport torch\n\ntorch.manual_seed(0)\n{CODE}{AFTER}", encoding="utf-8"
    )
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert Path(found["file"]).is_relative_to(site)
    assert not {"dvc", "typer", "stages"} & set(found["modules"])
    assert {path.name for path in tmp_path.iterdir()} == {"mine.py", "found.json"}
    assert found["data"]["deviation"] == pytest.approx((4 * 7 / 64) ** 0.5, rel=0.01)
    assert found["before"]["deviation"] < 0.6 * found["data"]["deviation"], "one call of the teacher must be blurred"
    assert found["after"]["deviation"] == pytest.approx(found["data"]["deviation"], rel=0.2)
    assert found["after"]["error"] < 0.7 * found["before"]["error"]
    assert min(found["after"]["columns"]) > 0, "a column that no sample shows"


class Classed(torch.nn.Module):
    """A network with ten classes, and a null class."""

    def __init__(self) -> None:
        super().__init__()
        self.label, self.conv = torch.nn.Embedding(11, 3), torch.nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x_t: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.conv(x_t) + self.label(labels)[:, :, None, None]


def test_the_other_code_of_the_page_runs_with_smaller_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _, classes, keep = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    large = {"10_000": "8", "steps=5000, batch_size=64": "steps=1, batch_size=4, pairs_batch_size=4"}
    for given, small in large.items():
        assert given in classes
        classes = classes.replace(given, small)
    names = {"dmd": dmd, "network": Classed(), "schedule": SCHEDULE, "labels": torch.arange(8)}
    names["images"] = torch.rand(8, 3, 32, 32) * 2 - 1
    exec(classes, names)
    z = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = names["distilled"].generator(z, torch.tensor([3, 9]))
        exec(keep, names)
        torch.testing.assert_close(names["generator"](z, torch.tensor([3, 9])), expected)


def test_the_types_of_the_wheel_are_those_of_the_page_and_the_module(site: Path) -> None:
    stub = ast.parse((site / "dmd" / "__init__.pyi").read_text(encoding="utf-8"))
    aliases = [alias for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    named = re.findall(r"^\| `(\w+)", PAGE, re.MULTILINE)
    assert sorted(alias.asname for alias in aliases) == sorted(named) == dmd.__all__
    assert (site / "dmd" / "py.typed").is_file()
    for node in (node for node in stub.body if isinstance(node, ast.ImportFrom)):
        for alias in node.names:
            assert getattr(importlib.import_module(node.module), alias.name) is getattr(dmd, alias.name)


@pytest.mark.parametrize("name", dmd.__all__)
def test_a_public_name_is_described_and_no_rooms_name(name: str) -> None:
    assert getattr(dmd, name).__doc__
    assert name in dir(dmd)
    assert name not in ROOMS, "an import of the room would replace it"


def test_what_is_not_public_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'dmd' has no attribute 'Distiller'"):
        dmd.Distiller  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import dmd, sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "diffusers", "pandas", "pydantic"} & set(done.stdout.split())

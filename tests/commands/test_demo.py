"""The demo's folder is never another's, its schedule is diffusers', and its server sends what browsers want."""

import shutil
import subprocess
import threading
from pathlib import Path

import pytest
import requests
from diffusers import DDIMScheduler
from typer.testing import CliRunner

from dmd.commands.app import app
from dmd.commands.demo_folder import build_folder, describe
from dmd.commands.file_server import FileServer
from dmd.commands.systems import find_config
from dmd.diffusion.generator import Generator
from dmd.models.compatibility import training_schedule
from dmd.models.teacher import Teacher
from dmd.params.config import load_config
from dmd.teacher.scheduler import canonical_scheduler

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return Teacher.load(ROOT / "assets" / "mnist-small" / "teacher")


def test_the_facts_are_those_of_the_teacher(teacher: Teacher) -> None:
    facts = describe(load_config(ROOT / "params.yaml"), teacher, Generator(teacher.denoiser, [500, 250]))
    schedule = facts["teacher"]
    ddim = DDIMScheduler.from_config(dict(teacher.scheduler_config), timestep_spacing="trailing")
    for number in (1, 30, 100):
        ddim.set_timesteps(number)
        assert schedule["timesteps"][number - 1] == ddim.timesteps.tolist()
    assert [alpha**2 for alpha in schedule["alpha"]] == pytest.approx(ddim.alphas_cumprod.tolist(), rel=1e-4)
    assert [s**2 + a**2 for s, a in zip(schedule["sigma"], schedule["alpha"], strict=True)] == pytest.approx([1] * 1000)
    assert (facts["shape"], facts["classes"], facts["later"], schedule["clip"]) == ([1, 28, 28], 10, [250], None)


def test_a_folder_that_is_no_demo_is_left_alone(teacher: Teacher, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(ValueError, match="is there, and no demo"):
        build_folder(load_config(ROOT / "params.yaml"), teacher, Generator(teacher.denoiser, [500]), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_scheduler_that_thresholds_is_refused(teacher: Teacher) -> None:
    other = Teacher(teacher.backbone, {**teacher.scheduler_config, "thresholding": True})
    with pytest.raises(ValueError, match="thresholding"):
        describe(load_config(ROOT / "params.yaml"), other, Generator(other.denoiser, [500]))


def test_what_ddim_from_z_does_not_sample_is_refused_before_a_file_is_written(teacher: Teacher, tmp_path: Path) -> None:
    config = load_config(ROOT / "params.yaml")
    edm = Teacher(teacher.backbone, canonical_scheduler(training_schedule({"_class_name": "EDMEulerScheduler"})))
    with pytest.raises(ValueError, match="mnist-small: the teacher has EDM's preconditioning"):
        build_folder(config, edm, Generator(edm.denoiser, [500]), tmp_path / "demo")
    evaluate = config.evaluate.model_copy(update={"solver": "heun", "timestep_spacing": "linspace"})
    linspace = config.model_copy(update={"evaluate": evaluate})
    with pytest.raises(ValueError, match=r"evaluate\.timestep_spacing is `linspace`"):
        build_folder(linspace, teacher, Generator(teacher.denoiser, [500]), tmp_path / "demo")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(("system", "file"), [("mnist-small", "dvc.yaml"), ("celeba", "pipelines/celeba/dvc.yaml")])
def test_make_demo_trains_the_system_that_it_shows(system: str, file: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", "demo", f"SYSTEM={system}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert f"dvc repro {file}:distill\n" in done.stdout
    assert f"dmd demo build {system}\n" in done.stdout
    assert (ROOT / file).is_file()


def test_a_system_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    assert [find_config(name).file for name in ("mnist-small", "celeba")] == [
        "params.yaml",
        "pipelines/celeba/params.yaml",
    ]
    with pytest.raises(ValueError, match=r"'celebb' is no system here; these are: mnist-small, .*celeba"):
        find_config("celebb")


def test_another_systems_half_written_params_are_no_matter_and_a_name_is_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    for name, text in {"half": "system: half\n", "broken": "system: [", "double": "system: mnist-small\n"}.items():
        (tmp_path / "pipelines" / name).mkdir(parents=True)
        (tmp_path / "pipelines" / name / "params.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"is the system of params\.yaml, pipelines/double/params\.yaml"):
        find_config("mnist-small")
    shutil.rmtree(tmp_path / "pipelines" / "double")
    assert find_config("mnist-small").system == "mnist-small"
    with pytest.raises(ValueError, match=r": mnist-small, half; not to be read: pipelines/broken/params\.yaml"):
        find_config("broken")


def test_files_are_served_as_browsers_want_them(tmp_path: Path) -> None:
    """A module of another type than JavaScript is refused, WebAssembly of another type is compiled late."""
    for name in ("index.html", "a.mjs", "b.js", "c.wasm"):
        (tmp_path / name).write_text(name)
    with FileServer(tmp_path, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        answers = [requests.get(server.address + name, timeout=10) for name in ("", "a.mjs", "b.js", "c.wasm")]
        with pytest.raises(ValueError, match=r"cannot listen at .*--port"):
            FileServer(tmp_path, "127.0.0.1", server.server_address[1])
        server.shutdown()
    assert [answer.text for answer in answers] == ["index.html", "a.mjs", "b.js", "c.wasm"]
    types = [answer.headers["Content-Type"].split(";")[0] for answer in answers]
    assert types == ["text/html", "text/javascript", "text/javascript", "application/wasm"]


def test_no_page_to_serve_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["demo", "serve"])
    assert (result.exit_code, "error: demo is no page; `dmd demo build` writes one" in result.output) == (1, True)

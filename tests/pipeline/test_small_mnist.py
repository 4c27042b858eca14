"""The whole DVC pipeline in a fresh repository, at a tiny setting, on the shipped teacher and real MNIST."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from dmd.commands.app import app
from dmd.runtime.files import file_sha256, load_json, load_tensors

ROOT = Path(__file__).resolve().parents[2]
CHANGES = {
    "pairs": {"count": 96, "shard_size": 40, "num_steps": 5, "solver": "ddim"},
    "distill": {
        "steps": 30,
        "batch_size": 16,
        "pairs_batch_size": 16,
        "learning_rate_generator": 3e-4,
        "learning_rate_fake": 6e-4,
        "warmup_steps": 2,
        "ema_decay": 0.8,
        "history_epochs": 3,
        "health_steps": 5,
        "checkpoint_steps": 10,
    },
    "evaluate": {"num_samples": 150, "num_sets": 2, "num_steps": 5, "solver": "ddim", "batch_size": 100},
}


def run(folder: Path, *command: str) -> str:
    """The output of a command in `folder`, with this interpreter's environment on the path; it must exit with 0."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    downloads = os.environ.get("DMD_DOWNLOADS", str(ROOT / "downloads"))
    environment = {**os.environ, "PATH": path, "DMD_DOWNLOADS": downloads, "DVC_NO_ANALYTICS": "1"}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    return result.stdout + result.stderr


def commit(folder: Path, message: str) -> None:
    run(folder, "git", "add", "-A")
    run(folder, "git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", message)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout's own files as a repository of its own, with tiny params, after one `dvc repro`."""
    folder = tmp_path_factory.mktemp("clone")
    names = run(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in (name for name in names if (ROOT / name).is_file() and name != "dvc.lock"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8")) | {"guidance_scale": 1.0}
    for section, values in CHANGES.items():
        params[section].update(values)
    params["distill"]["matching"]["guidance_scale"] = None  # no guidance: the first matching loss is zero
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    run(folder, "git", "init", "-q")
    run(folder, "git", "config", "user.name", "test")
    run(folder, "git", "config", "user.email", "test@localhost")
    commit(folder, "tiny params")
    run(folder, "dvc", "repro", "dvc.yaml")
    commit(folder, "tiny run")
    return folder


def metrics(folder: Path) -> dict[str, dict[str, float]]:
    return load_json(folder / "metrics" / "mnist-small" / "metrics.json")


def test_distillation_improves_the_one_step_images(repository: Path) -> None:
    scores = metrics(repository)
    assert scores["student"]["nfe"] == scores["student_before"]["nfe"] == 1
    assert scores["teacher"]["nfe"] == 5
    assert scores["student"]["fd_lenet"] < scores["student_before"]["fd_lenet"]
    assert scores["data"]["test"]["fd_lenet"] < scores["teacher"]["fd_lenet"]
    assert scores["student"]["num_samples"] == scores["run"]["num_samples"] == 150


def test_every_pair_is_there_and_as_the_manifest_says(repository: Path) -> None:
    folder = repository / "data" / "mnist-small" / "pairs"
    manifest = pd.read_csv(folder / "manifest.csv")
    assert manifest["last"].tolist() == [39, 79, 95]
    for row in manifest.itertuples():
        shard = load_tensors(folder / row.shard)
        assert file_sha256(folder / row.shard) == row.sha256
        assert shard["index"].tolist() == list(range(row.first, row.last + 1))
        assert (shard["label"] == shard["index"] % 10).all()


def test_the_losses_are_those_of_every_step(repository: Path) -> None:
    losses = pd.read_csv(repository / "metrics" / "mnist-small" / "losses.csv")
    assert losses["step"].tolist() == list(range(30))
    assert losses["distribution_matching"].iloc[0] == 0
    assert losses["distribution_matching"].iloc[-1] > 0
    assert losses["regression"].iloc[-5:].mean() < losses["regression"].iloc[:5].mean()


def test_git_keeps_pictures_of_the_samples(repository: Path) -> None:
    samples = load_tensors(repository / "data/mnist-small/evaluation/samples.safetensors")
    for name, model in {"teacher": "teacher", "before": "student_before", "student": "student"}.items():
        with Image.open(repository / f"metrics/mnist-small/samples_{name}.png") as picture:
            corner = np.asarray(picture)[:56:2, :56:2, 0]  # each pixel is two wide; the first sample is of class 0
        expected = (samples[model][0, 0].clamp(-1, 1) + 1) * 127.5
        np.testing.assert_allclose(corner, expected.numpy(), rtol=0, atol=0.51)
    with Image.open(repository / "metrics/mnist-small/history.png") as picture:
        picture.verify()


def test_the_saved_pipeline_draws_the_evaluated_samples(repository: Path) -> None:
    from diffusers import DiffusionPipeline

    folder = repository / "models" / "mnist-small" / "generator"
    samples = load_tensors(repository / "data" / "mnist-small" / "evaluation" / "samples.safetensors")
    pipeline = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    images = pipeline(class_labels=samples["label"][:10].tolist(), latents=samples["z"][:10], output_type="np").images
    expected = (samples["student"][:10].permute(0, 2, 3, 1).numpy() + 1) / 2
    assert abs(images - expected).max() < 1e-3


def test_the_commands_people_type_answer(repository: Path) -> None:
    assert "up to date" in run(repository, "dvc", "status", "dvc.yaml")
    dag = run(repository, "dvc", "dag", "--dot", "dvc.yaml")
    assert all(f'"{stage}"' in dag for stage in ("fetch", "teacher", "pairs", "distill", "evaluate", "report"))
    shown = json.loads(run(repository, "dvc", "metrics", "show", "--json").splitlines()[0])
    values = next(iter(shown.values()))["data"]["metrics/mnist-small/metrics.json"]["data"]
    assert values["student"]["fd_lenet"] == metrics(repository)["student"]["fd_lenet"]
    assert "student.fd_lenet" in run(repository, "dvc", "exp", "show", "--csv").splitlines()[0]
    lines = run(repository, "dvc", "plots", "diff", "HEAD~1", "-o", "plots").splitlines()  # and what systems lack plots
    page = next(line for line in lines if line.startswith("file://"))
    assert "samples_student" in Path(page.removeprefix("file://")).read_text(encoding="utf-8")
    shutil.rmtree(repository / "plots")


def test_the_tables_of_dmd_are_those_of_the_evaluation(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def table(*words: str) -> pd.DataFrame:
        result = CliRunner().invoke(app, [words[0], "params.yaml", "tables/table.csv", *words[1:]])
        assert result.exit_code == 0, result.output
        found = pd.read_csv("tables/table.csv")
        shutil.rmtree("tables")
        return found

    monkeypatch.chdir(repository)
    expected = metrics(repository)
    row = table("steps", "--row", "ddim 5", "--samples", "150", "--sets", "2", "--exact", "0").iloc[0]
    assert (row["nfe"], row["num_samples"], row["num_sets"]) == (5, 150, 2)
    assert row["fd_lenet"] == pytest.approx(expected["teacher"]["fd_lenet"], rel=1e-3)
    assert row["fd_lenet_std"] == pytest.approx(expected["teacher"]["fd_lenet_std"], rel=1e-2)
    rows = table("timesteps", "--timesteps", "600,999", "--samples", "50").set_index("generator_timestep")
    assert rows.loc[600, "fd_lenet"] < rows.loc[999, "fd_lenet"]  # of noise alone, the network sees nothing
    rows = table("spread", "--seeds", "2").set_index("seed")
    assert list(rows.index) == ["1", "2", "all"]
    assert rows.loc["all", "num_sets"] == 4
    assert rows.loc["all", "fd_lenet"] == pytest.approx(rows.loc[["1", "2"], "fd_lenet"].mean(), rel=1e-4)
    rows = table("sweep", "--axis", "alpha=0.25", "--axis", "distill.steps=20", "--samples", "50").set_index("changes")
    assert rows.loc["alpha 0.25, steps 20", "fd_lenet"] > 0


def test_a_second_run_has_nothing_to_do_and_an_experiment_redoes_what_depends_on_alpha(repository: Path) -> None:
    assert "Data and pipelines are up to date" in run(repository, "dvc", "repro", "dvc.yaml")
    before = metrics(repository)
    output = run(repository, "dvc", "exp", "run", "-S", "alpha=2", "dvc.yaml")
    assert "Stage 'pairs' didn't change, skipping" in output
    assert "Running stage 'distill'" in output
    after = metrics(repository)
    assert after["student"]["fd_lenet"] != before["student"]["fd_lenet"]
    assert after["student_before"]["fd_lenet"] == pytest.approx(before["student_before"]["fd_lenet"], rel=1e-3)
    shown = run(repository, "dvc", "metrics", "diff", "--json")  # below its one line: systems that have not run
    difference = json.loads(shown.splitlines()[0])
    assert any("student.fd_lenet" in entry for entry in difference.values())

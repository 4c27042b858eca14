"""The benchmarks compare like with like: the peers' images and losses are ours, and the floor is what is counted."""

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from benchmarks import __main__ as commands
from benchmarks import busy, evaluation, peers, repro
from benchmarks.distill import differences, floor_weights
from benchmarks.half_precision import Half
from benchmarks.one_step import best_solver
from benchmarks.operations import SHARES, count_flops, shares_of_products
from benchmarks.record import write_tables
from benchmarks.repeats import combine, ratio
from benchmarks.shipped import CIFAR10, Shipped, count_parameters
from benchmarks.textbook import TextbookLoop
from benchmarks.workers import Plan, Worker
from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.sampler import sample
from dmd.distill.distiller import Distiller
from dmd.runtime.files import load_json, save_json


@pytest.fixture(scope="module")
def shipped() -> Shipped:
    return Shipped()


def distiller(shipped: Shipped, **changes: Any) -> Distiller:
    return shipped.distiller(shipped.write_pairs(8), batch_size=4, pairs_batch_size=4, **changes)


def test_the_pipelines_images_are_those_of_the_sampler(shipped: Shipped) -> None:
    theirs = peers.ddim(shipped, 3, 5)()
    images = sample(
        shipped.guided, shipped.noise(3), shipped.labels(3), shipped.teacher.scheduler_config, "ddim", 5, "trailing"
    )
    ours = (images / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    assert np.abs(ours - theirs).max() < 1e-4


@pytest.mark.parametrize("num_fake_updates", [1, 2])
def test_the_floor_counts_the_passes_that_an_iteration_makes(shipped: Shipped, num_fake_updates: int) -> None:
    """Counted operations agree with the weights but for the first layers, whose inputs need no gradient."""
    run = distiller(shipped, num_fake_updates=num_fake_updates)
    weights = floor_weights(True, num_fake_updates)
    flops = {"forward": count_flops(shipped.forward(4)), "forward_both": count_flops(shipped.forward(8))}
    expected = sum(weights[name] * flops[name] for name in flops)
    assert 0.97 < count_flops(lambda: run.step(0)) / expected <= 1.0


def test_the_share_of_products_is_of_products_alone() -> None:
    """Exponentials have none; of a convolution, its backward pass and a hundred exponentials they are a part."""
    images, weights = torch.randn(8, 16, 32, 32, requires_grad=True), torch.randn(64, 16, 3, 3)
    convolved = torch.nn.functional.conv2d
    assert shares_of_products(lambda: images.detach().exp()) == [0.0] * SHARES

    def run() -> None:
        convolved(images, weights).backward(torch.ones(8, 64, 30, 30))
        for _ in range(100):
            images.detach().exp()

    assert all(0.0 < share < 1.0 for share in shares_of_products(run))


def test_the_textbook_loop_has_our_losses(shipped: Shipped) -> None:
    """On the same batches, over updates of both networks, at the constant rates that the loop has."""
    loop, run = TextbookLoop(shipped), distiller(shipped, learning_rate_schedule="constant", warmup_steps=0)
    for step in range(3):
        batch, fake = run.batch(step), run.fake_batch(step)
        theirs = loop.iterate({**batch, "t_fake": fake["t"], "eps_fake": fake["eps"]})
        ours = run.step(step)
        for name, term in {"matching": "distribution_matching", "regression": "regression", "fake": "fake"}.items():
            assert theirs[name] == pytest.approx(ours[term].item(), rel=1e-3), f"{name} of step {step}"
    assert loop().keys() == theirs.keys()


def test_torch_fidelity_gives_our_scores() -> None:
    jobs, theirs = evaluation.ours(100, 50), evaluation.theirs(100, 50)["score"]()
    ours = jobs["same"]()
    assert ours["fd_lenet"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-3)
    for name in ("precision", "recall"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-6)
    assert {name: jobs["score"]()[name] for name in ours} == pytest.approx(ours, rel=1e-6)


def test_the_tables_hold_what_was_measured(tmp_path: Path) -> None:
    """Medians of every ratio, those with a bar first; images that are too far apart are named."""
    other = {"some_ratio": ratio([1.0, 6.0, 2.0], [1.0, 1.0, 1.0])}
    seconds = {"iteration": ratio([3.0], [1.0])}
    flops = {"network": "some", "batch": 4, "flops": {"forward": 8e9, "iteration": 9e10}}
    flops |= {"flops_per_second": ratio([2e10], [1.0])}
    save_json(tmp_path / "distill.json", {"ratios": other, "seconds": seconds} | flops)
    barred = {"ratios": {"distill_over_floor": ratio([3.0], [2.0])}, "largest_difference_of_images": 1e-3, "batch": 8}
    save_json(tmp_path / "pairs.json", barred | {"largest_difference_of_onnxruntime": {"1": 1e-6}})
    write_tables(tmp_path, ("distill", "pairs", "memory"))
    assert load_json(tmp_path / "summary.json") == {"some_ratio": 2.0, "distill_over_floor": 1.5}
    lines = (tmp_path / "ratios.csv").read_text().splitlines()
    wanted = ["ratio,median,low,high,repeats,bar,stretch", "distill_over_floor,1.5,1.5,1.5,1,≤ 1.25,≤ 1.05"]
    wanted.append("some_ratio,2,1,6,3,,")
    assert lines == wanted
    assert (tmp_path / "seconds.csv").read_text().splitlines()[1:] == ["distill,iteration,3,3,3,1"]
    assert (tmp_path / "flops.csv").read_text().splitlines()[1:] == ["some,4,2,8,90,20"]
    found = pd.read_csv(tmp_path / "differences.csv")
    assert found[["batch", "agree"]].values.tolist() == [[8, "no"], [1, "yes"]]


def test_ratios_are_taken_repeat_by_repeat() -> None:
    record = ratio([2.0, 30.0, 4.0], [1.0, 10.0, 4.0], factor=2.0)
    assert record == {"median": 4.0, "low": 2.0, "high": 6.0, "repeats": [4.0, 6.0, 2.0]}
    assert combine({"a": 2.0, "b": 1.0}, {"a": [1.0, 2.0], "b": [10.0, 20.0]}) == [12.0, 24.0]
    with pytest.raises(ValueError, match="shorter"):
        ratio([1.0, 2.0], [1.0])


def test_what_the_textbook_pays_is_told_apart() -> None:
    """An iteration of 10 s that keeps memory in 9; two passes of 1 s for one of 1.5, three times and once more; an
    average of 0.2; two updates of 0.1.
    """
    per_pass = {"forward": [1.0], "forward_both": [1.5]}
    parts = {"average": [0.5], "average_foreach": [0.3], "adamw": [0.2], "adamw_fused": [0.1]}
    found = differences(per_pass, parts, [10.0], [9.0], guided=True)
    shares = {name: values["median"] for name, values in found.items()}
    assert shares == pytest.approx(
        {
            "textbook_share_memory_kept": 0.1,
            "textbook_share_one_pass_over_both_halves": 0.15,
            "textbook_share_guided_in_one_pass": 0.05,
            "textbook_share_foreach_average": 0.02,
            "textbook_share_fused_adamw": 0.02,
        }
    )


def test_a_real_score_in_half_precision_is_near_the_whole_one(shipped: Shipped) -> None:
    whole, t = shipped.teacher.denoiser, torch.full((4,), 300)
    half = Denoiser(Half(whole.backbone), whole.schedule, whole.prediction_type)
    z, labels = shipped.noise(4), shipped.labels(4)
    with torch.no_grad():
        x0, near = whole(z, t, labels), half(z, t, labels)
    assert near.dtype == torch.float32
    assert 0 < (near - x0).norm() < 0.05 * x0.norm()


def test_pairs_without_real_images_to_score_them_are_refused(
    shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"data/mnist-small/dataset: no real images.*dvc repro fetch"):
        shipped.real_images("train")


def test_the_network_of_cifar10_has_its_parameters() -> None:
    """Those of google/ddpm-cifar10-32."""
    assert count_parameters(Shipped(CIFAR10).teacher.backbone) == 35_746_307


def test_what_cannot_be_compared_here_leaves_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "RESULTS", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    (tmp_path / "threads.json").write_text("kept")
    commands.run("threads", Plan(1))
    assert (tmp_path / "threads.json").read_text() == "kept"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_worker_has_the_environment_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "3")
    asked = {"asked": partial(os.getenv, "GOMP_SPINCOUNT")}
    with Worker(dict, asked, tuned=False, environment={"GOMP_SPINCOUNT": "7"}) as worker:
        assert worker.run("asked")[1] == "7"
    assert os.environ["GOMP_SPINCOUNT"] == "3"


def test_a_process_is_busy_as_long_as_the_job_and_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says who it is; the job waits to read that."""
    said = tmp_path / "said"
    code = f"import os, pathlib, time; pathlib.Path({str(said)!r}).write_text(f'{{os.getpid()}}.'); time.sleep(60)"
    monkeypatch.setattr(busy, "SPIN", (sys.executable, "-c", code))

    def job() -> None:
        while not (said.is_file() and said.read_text().endswith(".")):
            time.sleep(0.01)

    busy.beside_a_busy_core(job)()
    with pytest.raises(ProcessLookupError):
        os.kill(int(said.read_text().strip(".")), 0)


@pytest.mark.skipif(not repro.has(repro.BEFORE), reason="needs the whole history: git fetch --unshallow")
def test_clones_for_before_and_after_are_of_those_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline before has the stages of the one after, and is asked for as much."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = repro.clone(repro.BEFORE, "before")
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == repro.BEFORE
    assert repro.stages(folder) == repro.stages(repro.ROOT)
    asked = repro.give_work(repro.clone("HEAD", "after"), folder)
    assert asked["before"]["distill"]["steps"] == 800
    params = yaml.safe_load((folder / "params.yaml").read_text())
    assert {section: {name: params[section][name] for name in repro.WORK[section]} for section in asked["after"]} == (
        asked["after"]
    )
    assert params["alpha"] == 2.0


def test_no_figure_without_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repro, "BEFORE", "0" * 40)
    assert repro.measure(Plan(1)) == {"ratios": {}}


def test_the_best_solver_is_the_nearest_row_of_most_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scale = Shipped().config.guidance_scale
    rows = [(scale, "unipc", 8, "trailing", 5.0, 250), (scale, "heun", 5, "leading", 7.0, 2000)]
    rows += [(scale, "ddim", 20, "trailing", 6.0, 2000), (1.0, "heun", 9, "trailing", 1.0, 2000)]
    columns = ["guidance_scale", "solver", "num_steps", "timestep_spacing", "fd_lenet", "num_samples"]
    shipped = Shipped()
    folder = tmp_path / "docs" / "results" / "data" / "tables" / shipped.config.system
    folder.mkdir(parents=True)
    pd.DataFrame(rows, columns=columns).to_csv(folder / "teacher_steps.csv", index=False)
    monkeypatch.chdir(tmp_path)
    assert scale != 1.0
    assert best_solver(shipped) == ("ddim", 20, "trailing")

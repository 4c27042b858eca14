"""Health while training: what is measured is what it says, it changes nothing, and a collapse is named."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from accelerate import Accelerator

from dmd.distill.health import MEASURES, Health
from dmd.distill.loop import Distillation
from dmd.models.codec import Codec
from dmd.report.collapse import EARLIER, find_collapse
from stages.live import open_log
from tests.distill.test_distiller import build, pairs, same, teacher, weights  # noqa: F401


def healthy(rows=10):
    """A table of a run without trouble."""
    table = pd.DataFrame({"step": [20 * row for row in range(rows)], **dict.fromkeys(MEASURES, 0.5)})
    table.loc[0, "grad_norm_distribution_matching"] = 0.0
    return table


def test_gradients_at_the_image_are_those_of_the_closed_forms(teacher, pairs):  # noqa: F811
    """L_dm's is g / numel (DMD eq. 7), that of alpha times the mean squared error 2 alpha (x - x_ref) / numel."""
    distiller = build(teacher, pairs, alpha=0.5, health_steps=1, warmup_steps=0)
    distiller.step(0)
    batch = distiller.batch(1)
    with torch.no_grad():
        x = distiller.student.generator(batch["z"], batch["labels"])
        x_ref = distiller.student.generator(batch["z_ref"], batch["labels_ref"])
    matching = (distiller.image_terms(x, batch)["distribution_matching"][1]).norm()
    regression = (0.5 * 2 * (x_ref - batch["x_ref"]) / x_ref.numel()).norm()
    distiller.step(1)
    records = [{"step": step, "grad_norm_generator": 1.0, "grad_norm_fake": 1.0, "fake": 1.0} for step in range(2)]
    row = distiller.health.collect(records, Accelerator())[1]
    assert row["step"] == 1
    assert row["grad_norm_distribution_matching"] == pytest.approx(matching.item(), rel=1e-4)
    assert row["grad_norm_regression"] == pytest.approx(regression.item(), rel=1e-4)
    everything = pairs.read(range(len(pairs)))["x0"]
    assert row["mean_difference"] == pytest.approx((x.mean() - everything.mean()).item(), abs=1e-5)
    assert row["deviation_difference"] == pytest.approx((x.std() - everything.std()).item(), abs=2e-3)
    assert row["variety"] == pytest.approx((x.std(0).mean() / everything.std(0).mean()).item(), rel=0.2)


def test_a_batch_in_parts_measures_as_the_whole(teacher, pairs):  # noqa: F811
    rows = []
    for changes in ({}, {"micro_batch_size": 2}):
        distiller = build(teacher, pairs, health_steps=1, warmup_steps=0, **changes)
        losses = [{"step": step} | distiller.step(step) for step in range(2)]
        losses = [{name: float(value) for name, value in row.items()} for row in losses]
        rows.append(distiller.health.collect(losses, Accelerator())[1])
    assert rows[0] == pytest.approx(rows[1], rel=1e-3, abs=1e-6)


def test_equal_images_have_no_variety_and_the_pairs_themselves_all_of_it():
    reference = torch.randn(64, 1, 4, 4)
    health = Health(1, 1.0, reference)
    for step, images in enumerate((reference, reference[:1].expand(8, -1, -1, -1) + 1)):
        images = images.clone().requires_grad_()
        health.watch(step, images, len(images))
        health.note_gradients(step, {"distribution_matching": torch.ones_like(images)})
        images.sum().backward()
    losses = [{"step": step, "grad_norm_generator": 0.0, "grad_norm_fake": 0.0} for step in range(2)]
    first, last = health.collect(losses, Accelerator())
    assert first["variety"] == pytest.approx(1)
    assert first["mean_difference"] == pytest.approx(0, abs=1e-6)
    assert first["grad_norm_distribution_matching"] == pytest.approx((64 * 16) ** 0.5)
    assert last["variety"] == pytest.approx(0, abs=1e-6)
    assert last["mean_difference"] == pytest.approx((reference[0].mean() + 1 - reference.mean()).item(), abs=1e-5)


def test_clipped_shares_count_the_updates_since_the_row_before():
    health, norms = Health(4, 1.0, torch.randn(8, 1, 2, 2)), [2.0, 0.5, 3.0, 0.1, 0.2, 5.0, 5.0, 0.3, 1.0]
    for step in range(9):
        images = torch.randn(3, 1, 2, 2, requires_grad=True)
        health.watch(step, images, 2)
        images.sum().backward()
    losses = [{"step": step, "grad_norm_generator": norm, "grad_norm_fake": 0.0} for step, norm in enumerate(norms)]
    rows = health.collect(losses, Accelerator())
    assert [row["step"] for row in rows] == [0, 4, 8]
    assert [row["clipped_generator"] for row in rows] == [1.0, 0.25, 0.5]
    assert [row["clipped_fake"] for row in rows] == [0, 0, 0]
    assert health.collect(losses, Accelerator()) == []


def test_a_watched_run_ends_to_the_bit_where_an_unwatched_one_does(teacher, pairs, tmp_path):  # noqa: F811
    runs = [
        Distillation(build(teacher, pairs, health_steps=every), Codec(pairs.image_shape), tmp_path, 6, 3, 6)
        for every in (1, 1000)
    ]
    for number, run in enumerate(runs):
        run.work = tmp_path / str(number)
        run.work.mkdir()
        run.run()
    assert [len(run.health) for run in runs] == [6, 1]
    assert runs[0].rows == runs[1].rows
    assert same(weights(runs[0].distiller.student.generator), weights(runs[1].distiller.student.generator))
    assert same(weights(runs[0].distiller.critics.mu_fake), weights(runs[1].distiller.critics.mu_fake))


def test_a_resumed_run_shows_and_keeps_every_row(teacher, pairs, tmp_path):  # noqa: F811
    def stopping(step):
        if step == 3:
            raise KeyboardInterrupt
        return original(step)

    broken = build(teacher, pairs)
    original, broken.step = broken.step, stopping
    with pytest.raises(KeyboardInterrupt):
        Distillation(broken, Codec(pairs.image_shape), tmp_path, 6, 3, 2).run()
    shown = []
    run = Distillation(build(teacher, pairs), Codec(pairs.image_shape), tmp_path, 6, 3, 2)
    run.live = shown.append
    run.run()
    (tmp_path / "out").mkdir()
    run.save(tmp_path / "out")
    assert [row["step"] for row in shown] == list(range(6))
    kept = pd.read_csv(tmp_path / "out" / "health.csv")
    pd.testing.assert_frame_equal(kept, pd.DataFrame(shown), check_dtype=False)
    assert kept["grad_norm_distribution_matching"][0] == 0  # mu_fake is mu_real


def test_a_run_that_runs_away_is_named_long_before_its_first_checkpoint(teacher, pairs, tmp_path, caplog):  # noqa: F811
    watched = build(teacher, pairs, health_steps=2)
    watched.health.fake_baseline = 1e-9  # every loss of the fake score lags behind that
    run = Distillation(watched, Codec(pairs.image_shape), tmp_path, 6, 3, 6)
    said = []
    run.live = lambda row: said.append((row["step"], [r.message for r in caplog.records if "lags" in r.message]))
    run.run()
    assert [step for step, _ in said] == [0, 2, 4]
    assert [len(messages) for _, messages in said] == [0, 0, 1]  # told with the second row
    assert said[-1][1][0].startswith("update 2: the fake score lags")


def test_a_collapse_is_named_with_its_step():
    assert find_collapse(healthy()) is None
    constant = healthy()
    constant.loc[7:, "variety"] = 0.01
    assert find_collapse(constant) == (140, "constant images: they vary 0.01 times as much as the pairs'")
    constant.loc[3, "variety"] = 0.01  # a row of it that passes is none
    assert find_collapse(constant) == (140, "constant images: they vary 0.01 times as much as the pairs'")
    for row in (len(constant) - 2, len(constant) - 1):  # one row alone is none
        constant.loc[row, "variety"] = 0.9
        assert find_collapse(constant) is None
    constant["variety"] = 0.01  # so it began
    assert find_collapse(constant) is None
    constant.loc[0, "variety"] = 0.9
    constant.loc[8, "grad_norm_regression"] = 200.0
    assert find_collapse(constant) == (20, "constant images: they vary 0.01 times as much as the pairs'")
    for value in (200.0, float("inf"), float("nan")):
        exploding = healthy()
        exploding.loc[8, "grad_norm_regression"] = value
        step, sentence = find_collapse(exploding)
        assert (step, "regression" in sentence) == (160, True)
    early = healthy()
    early.loc[EARLIER - 1, "grad_norm_regression"] = 200.0
    assert find_collapse(early) is None
    assert find_collapse(healthy().iloc[:0]) is None


def test_live_files_hold_the_rows_and_nothing_else_is_written(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for values in ((9.0,), (0.5, 0.25)):  # the second run replaces the first one's files
        add = open_log(Path("dvclive", "x"))
        for position, value in enumerate(values):
            add({"step": 20 * position, "variety": value})
    table = pd.read_csv("dvclive/x/plots/metrics/variety.tsv", sep="\t")
    assert table.to_dict("list") == {"step": [0, 20], "variety": [0.5, 0.25]}
    assert '"variety": 0.25' in Path("dvclive/x/metrics.json").read_text()
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {"dvclive/x/metrics.json", "dvclive/x/plots/metrics/variety.tsv"}


def test_a_repository_without_a_commit_has_no_live_files_and_the_run_goes_on(tmp_path: Path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q", "."], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], check=True)
    open_log(Path("dvclive", "x"))({"step": 0, "variety": 1.0})
    assert not Path("dvclive").exists()
    assert "dvclive/x is not written" in caplog.text
    assert "commit" in caplog.text

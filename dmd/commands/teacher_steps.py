"""The teacher's table: solvers and steps against scores, seconds an image and distance to the exact ODE."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import typer
from accelerate.utils import tqdm

from dmd.commands.arguments import require
from dmd.commands.scorer import Scorer
from dmd.commands.table import read_rows, write_rows
from dmd.diffusion.guidance import with_guidance
from dmd.diffusion.sampler import count_nfe, sample
from dmd.evaluate.latency import TimedModel
from dmd.evaluate.noises import Noises
from dmd.models.karras import is_karras
from dmd.models.teacher import Teacher
from dmd.params.config import Config
from dmd.params.karras import KarrasSchedule
from dmd.params.sampling import ANY_SCHEDULE, Sampling
from dmd.runtime.files import folder_sha256, load_tensors, save_tensors
from dmd.runtime.places import Places
from dmd.runtime.work_folder import work_folder
from dmd.types import Images, Labels, Latents

Row = dict[str, Any]

EXACT = "ddim", 1000
"""The solver and steps whose images stand for the exact solution."""

WARM_UP_STEPS = 5
"""Drawn and thrown away before a row is timed."""

ROWS = [
    *(f"unipc {steps}" for steps in (5, 8, 12, 20)),
    *(f"ddim {steps}" for steps in (5, 10, 20, 50, 100)),
    *(f"dpmsolver++ {steps}" for steps in (8, 12)),
    *(f"dpmsolver++3m {steps}" for steps in (8, 12)),
    "heun 5",
    *(f"ddim {steps} leading" for steps in (10, 20)),
    "heun 5 leading",
]
"""What is drawn unless `--row` says otherwise: solver, steps, and the spacing where it is not `trailing`."""

EXACT_ROWS = ["ddim 100"]
"""Drawn besides, and the exact solution, for the first `--exact` noises alone: a thousand steps take their time."""


class Setting(NamedTuple):
    """One way to draw from the teacher."""

    guidance_scale: float
    solver: str
    num_steps: int
    timestep_spacing: str


Plan = tuple[Setting, int, int]
"""Settings, how many samples a set to draw with them, and how many sets."""


class Drawn(NamedTuple):
    """Images, their labels if they have any, and the seconds that one took."""

    images: Images
    labels: Labels | None
    seconds_per_image: float


class Bench:
    """A teacher and its scorer, for one setting after the other."""

    def __init__(self, config: Config, teacher: Path) -> None:
        """Load the teacher's folder."""
        self.config, self.scorer = config, Scorer(config, config.evaluate.num_samples, teacher)
        self.teacher = Teacher.load(teacher)
        self.sha256 = folder_sha256(teacher)[:8]
        edm, solver = is_karras(self.teacher.scheduler_config), EXACT[0]
        most = min(EXACT[1], self.teacher.schedule.num_timesteps)
        self.exact_solution = without_betas(solver) if edm else solver, most
        self.work = work_folder("steps_table", [teacher], {"seed": config.seed})

    def _solve(self, setting: Setting, z: Latents, labels: Labels | None) -> Images:
        denoiser = with_guidance(self.teacher.denoiser, setting.guidance_scale, self.config.dataset.num_classes)
        x = sample(denoiser.to(self.scorer.device), z, labels, self.teacher.scheduler_config, *setting[1:])
        return self.scorer.setup.codec.decode(x)

    @torch.no_grad()
    def draw(self, setting: Setting, noises: Noises) -> Drawn:
        """Draw from all of the noises; a few steps of the first batch go before, untimed."""
        size = self.scorer.setup.batch_size
        timed = TimedModel(partial(self._solve, setting), self.scorer.device)
        self._solve(setting._replace(num_steps=min(setting.num_steps, WARM_UP_STEPS)), *noises.batch(0, size))
        title = f"{setting.solver} {setting.num_steps}, guidance {setting.guidance_scale:g}"
        parts = [
            (timed(z, labels).clamp(-1, 1), labels)
            for z, labels in tqdm(noises.batches(size), title, total=-(-noises.count // size), unit="batch")
        ]
        labels = None if parts[0][1] is None else torch.cat([part[1] for part in parts if part[1] is not None])
        return Drawn(torch.cat([part[0] for part in parts]), labels, timed.seconds_per_image)

    def exact(self, guidance_scale: float, count: int) -> Drawn:
        """The exact solution of the first `count` noises, kept for later calls."""
        path = self.work / f"exact-{guidance_scale:g}-{count}.safetensors"
        noises = replace(self.scorer.noises, count=count)
        if not path.exists():
            drawn = self.draw(Setting(guidance_scale, *self.exact_solution, "trailing"), noises)
            save_tensors(path, {"images": drawn.images, "seconds": torch.tensor(drawn.seconds_per_image)})
        kept = load_tensors(path)
        return Drawn(kept["images"].to(noises.device), noises.batch(0, count)[1], kept["seconds"].item())

    def row(self, setting: Setting, samples: int, num_sets: int, num_exact: int = 0) -> Row:
        """Scores of what the teacher draws so from the evaluation's first noises, over sets of `samples` each.

        Means, and the standard deviation of the distance. With `num_exact`, also the distance to the exact solution of
        so many of them: the root mean squared pixel difference, noise by noise.
        """
        noises = replace(self.scorer.noises, count=samples * num_sets)
        exact = self.exact(setting.guidance_scale, num_exact) if num_exact else None
        is_exact = (setting.solver, setting.num_steps) == self.exact_solution and num_exact == noises.count
        images, labels, seconds = exact if exact is not None and is_exact else self.draw(setting, noises)
        scores = self.scorer.score_drawn(images, noises.classes(labels), samples)
        row = {"nfe": count_nfe(setting.solver, setting.num_steps), **scores}
        if exact is not None:
            row["rmse_to_exact"] = float((images[:num_exact] - exact.images).square().mean().sqrt())
        return {**row, "seconds_per_image": seconds}


def choose(config: Config, total: int, scale: float, samples: int, sets: int, exact: int) -> list[Plan]:
    """What is drawn unless rows are named: ROWS, EXACT_ROWS, and the evaluation's solver without guidance.

    Of an EDM teacher, those rows that need no betas. Its schedule has `total` timesteps.
    """
    own, rows = config.evaluate, ROWS
    exact_rows = [*EXACT_ROWS, f"{EXACT[0]} {min(EXACT[1], total)}"]
    if isinstance(config.teacher.schedule, KarrasSchedule):
        rows, exact_rows = ([without_betas(text) for text in texts] for texts in (rows, exact_rows))
        rows = [text for text in rows if text.split()[0] in ANY_SCHEDULE]
    plan = [(read_setting(text, scale), samples, sets) for text in rows]
    plan += [(read_setting(text, scale), exact, 1) for text in exact_rows if exact]
    unguided = Setting(1.0, own.solver, own.num_steps, own.timestep_spacing)
    return plan if scale == 1 else [*plan, (unguided, samples, sets)]


def without_betas(text: str) -> str:
    """A row with Euler's steps for those of DDIM, which are the same and need betas."""
    return text.replace("ddim", "euler")


def read_setting(text: str, scale: float) -> Setting:
    """A guidance scale, and a solver and its steps written as `ddim 50`, or `ddim 50 leading`.

    Raises:
        typer.BadParameter: they are not written so, or the params would refuse them; names what and why.
    """
    words = text.split()
    try:
        names = ("solver", "num_steps", "timestep_spacing")
        values = dict(zip(names, words if len(words) > 2 else [*words, "trailing"], strict=True))
        found = Sampling.model_validate({**values, "num_steps": int(values["num_steps"]), "batch_size": 1})
    except ValueError as error:
        raise typer.BadParameter(f"row {text!r} is no `solver steps [spacing]`: {error}") from error
    return Setting(scale, found.solver, found.num_steps, found.timestep_spacing)


def check_steps(setting: Setting, total: int) -> None:
    """Refuse steps that a schedule of `total` timesteps does not have, with a `ValueError` that names them."""
    sampling = Sampling(
        solver=setting.solver, num_steps=setting.num_steps, timestep_spacing=setting.timestep_spacing, batch_size=1
    )
    sampling.check_timesteps(total, "--row")


def fill_table(config: Config, path: Path, plans: Sequence[Plan], exact: int) -> list[Row]:
    """Add the rows of `plans` that the table of `path` lacks to it, each as soon as it is there; all of its rows.

    Rows of another teacher leave it. At the params' guidance scale a row is held to the exact solution of `exact`
    noises.

    Raises:
        ValueError: there is no teacher yet, or its schedule has not the steps of a row; before any is drawn.
    """
    bench = Bench(config, require(Places(config.system).teacher, "teacher"))
    for setting, *_ in plans:
        check_steps(setting, bench.teacher.schedule.num_timesteps)
    rows = [known for known in read_rows(path, "teacher") if known.get("teacher") == bench.sha256]
    for setting, count, num_sets in plans:
        key = setting._asdict() | {"num_samples": count, "num_sets": num_sets}
        if any(all(known.get(name) == value for name, value in key.items()) for known in rows):
            continue
        held = min(exact, count) if setting.guidance_scale == config.guidance_scale else 0
        rows.append({**setting._asdict(), **bench.row(setting, count, num_sets, held), "teacher": bench.sha256})
        write_rows(path, rows)
    return rows

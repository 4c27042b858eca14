"""A distillation run from its first to its last step: resumable, with the losses and the fixed noises' history."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from accelerate.utils import tqdm
from torch import Tensor

from dmd.datasets.labels import balanced_labels
from dmd.datasets.registry import to_pixels
from dmd.diffusion.rng import Stream, sample_noise
from dmd.distill.distiller import Distiller
from dmd.distill.health import Row
from dmd.distill.panel import draw_panel, noise_levels
from dmd.distill.trouble import first_sign
from dmd.models.codec import Codec
from dmd.models.lora import size
from dmd.runtime.files import load_tensors, save_json, save_tensors
from dmd.training.learner import SETTLE_STEPS, settle

logger = logging.getLogger(__name__)

HISTORY_IMAGES = 20

SNAPSHOT_BATCH = 100


class Distillation:
    """Runs a `Distiller` in a work folder that survives a kill."""

    def __init__(
        self,
        distiller: Distiller,
        codec: Codec,
        work: Path,
        steps: int,
        epochs: int,
        checkpoint_steps: int,
    ) -> None:
        """Draw the first pairs' noises at step 0 and after each of `epochs` equal parts of `steps`.

        `codec` turns what the generator makes into images.
        """
        self.distiller, self.work, self.steps, self.checkpoint_steps = distiller, work, steps, checkpoint_steps
        self.live: Callable[[Row], None] | None = None
        """Is called with each row of the health table; by a resumed run with those that it has, too."""
        self.codec = codec.to(distiller.accelerator.device)
        self.history_steps = sorted({round(steps * epoch / epochs) for epoch in range(epochs + 1)})
        self.fixed = distiller.pairs.read(range(min(HISTORY_IMAGES, len(distiller.pairs))))
        self.rows: list[dict[str, int | float]] = []
        self.health: list[dict[str, int | float]] = []
        self.seconds = 0.0
        self._saved = 0

    def run(self) -> None:
        """Go on from the newest checkpoint to the last step; the generator then holds the averaged weights.

        Raises:
            FloatingPointError: a loss or gradient norm is not finite; the last good checkpoint stays.
        """
        distiller = self.distiller
        start, record = distiller.state.resume(self.work)
        if record is not None:
            self.rows, self.seconds = record["rows"], record["seconds"]
            self._note(record["health"])
            self._saved = start
        logger.info("distilling from step %d of %d", start, self.steps)
        if start == 0:
            self._draw(0)
        pending: list[dict[str, Tensor]] = []
        began = time.perf_counter()
        for step in tqdm(range(start, self.steps), "distill", total=self.steps, initial=start):
            pending.append(distiller.step(step))
            done = step + 1
            ends, drawn = done % self.checkpoint_steps == 0 or done == self.steps, done in self.history_steps
            noted = ends or distiller.health.watches(step)
            if noted or drawn or done % SETTLE_STEPS == 0:
                settle(*distiller.learners.values())
            if drawn:
                self._draw(done)
            if noted:
                self._collect(pending, done)
                pending = []
            if ends:
                self.seconds += time.perf_counter() - began
                self._save(done)
                began = time.perf_counter()
        distiller.student.finish(distiller.accelerator)

    def save(self, out: Path) -> None:
        """Fill `out`: `losses.csv`, `health.csv`, `history.safetensors`, `training.json`; `snapshots.safetensors` where
        asked for; measured times: `speed.json`.

        All but the last are functions of inputs, params and code.
        """
        pd.DataFrame(self.rows).to_csv(out / "losses.csv", index=False)
        pd.DataFrame(self.health).to_csv(out / "health.csv", index=False)
        snapshots: dict[str, Tensor] = {}
        pair = self._shown(self.fixed["x0"].to(self.distiller.accelerator.device)).cpu()
        history = {"z": self.fixed["z"], "x0_pair": pair, "label": self.fixed["label"]}
        for step in self.history_steps:
            drawn = load_tensors(self._history_file(step))
            history |= {f"{name}_step_{step:05d}": drawn[name] for name in ("images", "panel")}
            if "snapshot" in drawn:
                snapshots[f"step_{step:05d}"] = drawn["snapshot"]
        save_tensors(out / "history.safetensors", history)
        if snapshots:
            save_tensors(out / "snapshots.safetensors", snapshots)
        images = self.steps * self.distiller.settings.batch_size
        record = {
            "steps": self.steps,
            "parameters": size(self.distiller.student.backbone),
            "history_steps": self.history_steps,
            "noise_levels": noise_levels(self.distiller.settings.matching.noise),
            "network_passes": self.steps * self.distiller.passes_per_step,
        }
        save_json(out / "training.json", record)
        save_json(out / "speed.json", {"seconds": self.seconds, "images_per_second": images / self.seconds})

    def _collect(self, pending: list[dict[str, Tensor]], done: int) -> None:
        """Bring the pending losses to the host in one transfer, averaged over processes, and what health measured."""
        accelerator, names = self.distiller.accelerator, list(pending[0])
        table = torch.stack([torch.stack([row[name].float() for name in names]) for row in pending])
        table = accelerator.reduce(table, "mean").cpu()
        for i, values in enumerate(table.tolist()):
            self.rows.append({"step": done - len(pending) + i, **dict(zip(names, values, strict=True))})
        self._note(self.distiller.health.collect(self.rows, accelerator))

    def _save(self, done: int) -> None:
        """Say how the steps since the last checkpoint went, and write this one."""
        since = pd.DataFrame(self.rows[self._saved :]).drop(columns="step")
        logger.info("step %d: %s", done, _means({str(name): value for name, value in since.mean().items()}))
        self._saved = done
        if self.distiller.accelerator.is_main_process:
            drawn = [self._history_file(step) for step in self.history_steps if step <= done]
            record = {"rows": self.rows, "health": self.health, "seconds": self.seconds}
            self.distiller.state.save(self.work, done, record, drawn)

    def _note(self, rows: Sequence[dict[str, int | float]]) -> None:
        """Keep rows of the health table, and show them."""
        for row in rows:
            self.health.append(row)
            if self.live is not None:
                self.live(row)
            sign = first_sign(self.health)
            if sign is not None and self.distiller.accelerator.is_main_process:
                logger.warning("%s", sign)

    @torch.no_grad()
    def _draw(self, step: int) -> None:
        """Images of the fixed noises with the averaged weights of this step."""
        distiller = self.distiller
        if not distiller.accelerator.is_main_process:
            return
        device = distiller.accelerator.device
        labels = self.fixed["label"].to(device) if distiller.num_classes is not None else None
        with distiller.student.averaged() as generator, distiller.accelerator.autocast():
            x = generator(self.fixed["z"].to(device), labels).float()
            panel = draw_panel(distiller, x, labels)
            drawn = {"images": self._shown(x), "panel": self._shown(panel)} | self._snapshot()
        save_tensors(self._history_file(step), drawn)

    def _snapshot(self) -> dict[str, Tensor]:
        """The first of the noises that `evaluate` scores, drawn now: bytes, as real images have them."""
        distiller, count = self.distiller, self.distiller.settings.snapshot_samples
        parts = []
        for start in range(0, count, SNAPSHOT_BATCH):
            indices = range(start, min(start + SNAPSHOT_BATCH, count))
            z = sample_noise(distiller.batches.seed, indices, distiller.pairs.image_shape, Stream.EVALUATION)
            labels = balanced_labels(indices, *distiller.evaluated_labels)
            device = distiller.accelerator.device
            images = distiller.student.generator(z.to(device), None if labels is None else labels.to(device))
            parts.append(to_pixels(self._shown(images)).cpu())
        return {"snapshot": torch.cat(parts)} if parts else {}

    @torch.no_grad()
    def _shown(self, x: Tensor) -> Tensor:
        """Images of latents, whatever stands before the last three dimensions; in float32 whatever the run is in."""
        with torch.autocast(x.device.type, enabled=False):
            return self.codec.decode(x.float().flatten(0, -4)).unflatten(0, x.shape[:-3])

    def _history_file(self, step: int) -> Path:
        return self.work / f"history-{step:05d}.safetensors"


def _means(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in values.items())

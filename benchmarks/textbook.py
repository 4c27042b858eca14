"""Distribution matching distillation as a plain loop: eager, one pass after the other, every loss logged at once.

The same equations, batch sizes, rates and averaging as `dmd.distill.distiller`, written for the eye and not for the
clock.
"""

import copy
from collections.abc import Mapping

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.shipped import Shipped
from dmd.datasets.pairs import PairStore


class TextbookLoop:
    """Three networks, two optimisers, an average; one call is one iteration with one update of each."""

    def __init__(self, shipped: Shipped) -> None:
        """Copy the teacher; every pair is in memory."""
        self.settings, self.config, self.classes = shipped.config.distill, shipped.config, shipped.classes or 0
        self.alpha_bar = DDPMScheduler(**dict(shipped.teacher.scheduler_config)).alphas_cumprod
        self.real = shipped.teacher.backbone
        self.generator, self.fake, self.average = (copy.deepcopy(self.real) for _ in range(3))
        decay, betas = self.settings.weight_decay, self.settings.betas
        rates = self.settings.learning_rate_generator, self.settings.learning_rate_fake
        self.optimizers = [
            torch.optim.AdamW(net.parameters(), rate, betas, weight_decay=decay)
            for net, rate in zip((self.generator, self.fake), rates, strict=True)
        ]
        store = PairStore(shipped.write_pairs(2 * self.settings.pairs_batch_size))
        self.pairs = store.read(range(len(store)))

    def __call__(self) -> Mapping[str, float]:
        """The next iteration; its losses."""
        return self.iterate(self.draw())

    def draw(self) -> dict[str, Tensor]:
        """Noises and labels, pairs, and the timesteps and noises of both losses."""
        size, shape, total = self.settings.batch_size, self.config.dataset.image_shape, len(self.alpha_bar)
        levels = ((1 - self.alpha_bar) / self.alpha_bar).sqrt()
        least, greatest = self.settings.matching.noise
        low, high = (int((levels < level).sum()) for level in (least, greatest))
        rows = torch.randperm(len(self.pairs["z"]))[: self.settings.pairs_batch_size]
        return {
            "z": torch.randn(size, *shape),
            "labels": torch.randint(self.classes, (size,)),
            "t": torch.randint(low, high, (size,)),
            "eps": torch.randn(size, *shape),
            "z_ref": self.pairs["z"][rows],
            "x_ref": self.pairs["x0"][rows],
            "labels_ref": self.pairs["label"][rows],
            "t_fake": torch.randint(total, (size,)),
            "eps_fake": torch.randn(size, *shape),
        }

    def iterate(self, batch: Mapping[str, Tensor]) -> Mapping[str, float]:
        """An iteration on a batch; its losses."""
        labels = batch["labels"]
        x = self.generate(batch["z"], labels)
        matching = self.matching(x, labels, batch["t"], batch["eps"])
        regression = functional.mse_loss(self.generate(batch["z_ref"], batch["labels_ref"]), batch["x_ref"])
        self.descend(self.generator, self.optimizers[0], matching + self.config.alpha * regression)
        self.keep_average()
        x_t = self.diffuse(x.detach(), batch["eps_fake"], batch["t_fake"])
        fake = functional.mse_loss(self.fake(x_t, batch["t_fake"], class_labels=labels).sample, batch["eps_fake"])
        self.descend(self.fake, self.optimizers[1], fake)
        return {"matching": matching.item(), "regression": regression.item(), "fake": fake.item()}

    def generate(self, z: Tensor, labels: Tensor) -> Tensor:
        """Images in one step."""
        return self.denoise(self.generator, z, torch.full((len(z),), self.settings.generator_timesteps[0]), labels)

    def keep_average(self) -> None:
        """The running average of the generator's weights, one parameter after the other."""
        decay = self.settings.ema_decay
        for kept, new in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            kept.data.mul_(decay).add_(new.data, alpha=1 - decay)

    def matching(self, x: Tensor, labels: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """The distribution-matching loss (DMD eq. 7 and 8), with two passes of the real score where it is guided."""
        scale = self.config.guidance_scale
        with torch.no_grad():
            x_t = self.diffuse(x, eps, t)
            real = self.denoise(self.real, x_t, t, labels)
            if scale != 1.0:
                uncond = self.denoise(self.real, x_t, t, torch.full_like(labels, self.classes))
                real = uncond + scale * (real - uncond)
            gradient = self.denoise(self.fake, x_t, t, labels) - real
            gradient = gradient / (x - real).abs().mean((1, 2, 3), keepdim=True)
        return 0.5 * functional.mse_loss(x, (x - gradient).detach())

    def denoise(self, net: nn.Module, x_t: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """x0 from the predicted noise."""
        a = self.alpha_bar[t].view(-1, 1, 1, 1)
        return (x_t - (1 - a).sqrt() * net(x_t, t, class_labels=labels).sample) / a.sqrt()

    def diffuse(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t from x0 and noise."""
        a = self.alpha_bar[t].view(-1, 1, 1, 1)
        return a.sqrt() * x + (1 - a).sqrt() * eps

    def descend(self, net: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        """One update."""
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), self.settings.max_grad_norm)
        optimizer.step()

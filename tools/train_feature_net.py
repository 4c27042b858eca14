"""Train the feature net of MNIST or Fashion-MNIST on the training split and write it with its provenance.

    python -m tools.train_feature_net data/mnist-small/dataset assets/lenet
    python -m tools.train_feature_net data/fashion-small/dataset assets/fashion_lenet --steps 8000 --turn 4 --shift 1

Cross-entropy (label smoothing would flatten what differs within a class), AdamW, linear warm-up into a cosine to zero.
Each image is turned, scaled and shifted a little at each look (white digits on black: what comes in from outside is
black). The test split is used once, for the accuracy in `provenance.json`.
"""

import hashlib
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from torch import Tensor, nn
from torch.nn import functional

from dmd.datasets.mnist import load_mnist
from dmd.datasets.registry import to_images
from dmd.features.lenet import LeNet
from dmd.runtime.files import file_sha256, save_json
from dmd.types import Images, Labels

logger = logging.getLogger(__name__)

app = typer.Typer(add_completion=False)

WEIGHTS = "diffusion_pytorch_model.safetensors"


class Augmentation(NamedTuple):
    """How much an image is changed at each look, at most."""

    degrees: float
    pixels: float
    scale: float


def augment(images: Images, generator: torch.Generator, degrees: float, pixels: float, scale: float) -> Images:
    """Turn by up to `degrees`, shift by up to `pixels`, scale by up to 1 ± `scale`, each uniform and per image.

    Bilinear; pixels from outside are -1 (black).
    """
    batch, _, height, width = images.shape
    angle, right, down, size = torch.rand(4, batch, generator=generator).mul(2).sub(1)
    angle, size = angle * math.radians(degrees), 1 / (1 + scale * size)
    shift = torch.stack([right * 2 * pixels / width, down * 2 * pixels / height], dim=-1)
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=-1).view(batch, 2, 2)
    theta = torch.cat([rotation * size.view(batch, 1, 1), shift.unsqueeze(-1)], dim=-1)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False).to(images)
    return functional.grid_sample(images + 1, grid, padding_mode="zeros", align_corners=False) - 1


def learning_rate_factor(step: int, steps: int, warmup: int) -> float:
    """min(1, (step + 1) / warmup) · (1 + cos(π step / steps)) / 2."""
    return min(1.0, (step + 1) / max(1, warmup)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def batches(count: int, batch_size: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """`steps` batches of indices below `count`; a fresh permutation each epoch, the remainder of an epoch left out."""
    done = 0
    while True:
        order = torch.randperm(count, generator=generator)
        for start in range(0, count - batch_size + 1, batch_size):
            if done == steps:
                return
            done += 1
            yield order[start : start + batch_size]


def train(
    net: nn.Module,
    images: Images,
    labels: Labels,
    steps: int,
    batch_size: int,
    rate: float,
    seed: int,
    change: Augmentation,
) -> None:
    """Train `net` in place.

    Raises:
        FloatingPointError: the loss is not finite; names the step.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate_factor(step, steps, 100))
    net.train().to(memory_format=torch.channels_last)
    for step, rows in enumerate(batches(len(images), batch_size, steps, generator)):
        batch = augment(images[rows], generator, *change)
        loss = functional.cross_entropy(net(batch.to(memory_format=torch.channels_last))[1], labels[rows])
        if not torch.isfinite(loss):
            raise FloatingPointError(f"step {step}: the loss is {loss.item()}; lower the learning rate {rate}")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 200 == 0 or step == steps - 1:
            logger.info("step %d of %d: loss %.4f", step, steps, loss.item())


@torch.no_grad()
def accuracy(net: nn.Module, images: Images, labels: Labels, batch_size: int = 1000) -> float:
    """Share of images whose largest logit is that of their label, 0 … 1."""
    net.eval()
    hits = sum(
        int((net(x)[1].argmax(1) == y).sum())
        for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True)
    )
    return hits / len(images)


@app.command()
def main(
    dataset: Annotated[Path, typer.Argument(help="folder with the four raw idx files")],
    output: Annotated[Path, typer.Argument(help="folder for config.json, the weights and provenance.json")],
    steps: Annotated[int, typer.Option(min=1, help="optimiser updates")] = 3000,
    batch_size: Annotated[int, typer.Option(min=1, max=60000, help="images an update")] = 128,
    learning_rate: Annotated[float, typer.Option(min=0, help="peak of the cosine")] = 1e-3,
    seed: Annotated[int, typer.Option(min=0, help="of weights, order, augmentation and dropout")] = 0,
    turn: Annotated[float, typer.Option(min=0, help="degrees by which an image is turned, at most")] = 10,
    shift: Annotated[float, typer.Option(min=0, help="pixels by which it is shifted, at most")] = 2,
    scale: Annotated[float, typer.Option(min=0, max=0.5, help="share by which it is scaled, at most")] = 0.08,
) -> None:
    """Train a LeNet on the training split and save it with its test accuracy and provenance."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    pixels, labels = load_mnist(dataset, "train")
    torch.manual_seed(seed)
    net = LeNet(dropout=0.3)
    train(net, to_images(pixels), labels, steps, batch_size, learning_rate, seed, Augmentation(turn, shift, scale))
    test_pixels, test_labels = load_mnist(dataset, "test")
    score = accuracy(net, to_images(test_pixels), test_labels)
    net.save_pretrained(output)
    (output / WEIGHTS).chmod(0o644)
    provenance = {
        "command": f"python -m tools.train_feature_net {dataset} {output} --steps {steps} --batch-size {batch_size}"
        f" --learning-rate {learning_rate} --seed {seed} --turn {turn:g} --shift {shift:g} --scale {scale:g}",
        "dataset_md5": {
            path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in sorted(dataset.glob("*-ubyte"))
        },
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        "parameters": sum(weights.numel() for weights in net.parameters()),
        "test_accuracy": score,
        "sha256": file_sha256(output / WEIGHTS),
        "torch": torch.__version__.split("+")[0],
    }
    save_json(output / "provenance.json", provenance)
    logger.info("test accuracy %.4f; written to %s", score, output)


if __name__ == "__main__":
    app()

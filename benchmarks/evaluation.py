"""Scoring a set of images against another: this project's scores and torch-fidelity's, with the same feature net."""

import multiprocessing
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from torch_fidelity import calculate_metrics, register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from benchmarks.repeats import ratio, summary
from benchmarks.shipped import Shipped
from benchmarks.workers import Jobs, Plan, Worker, in_turns
from dmd.diffusion.generator import Generator
from dmd.evaluate.frechet import frechet_distance
from dmd.evaluate.kernel import kernel_distance
from dmd.evaluate.neighbours import precision_recall
from dmd.evaluate.noises import Noises
from dmd.evaluate.scores import NUM_NEIGHBOURS, score
from dmd.evaluate.summaries import Summary, summarise_model, summarise_pixels
from dmd.features.feature_net import load_features

COUNT = 5000
STUDENT = 10_000
FEATURES = Path("assets") / "lenet"


@cache
def loaded() -> nn.Module:
    """The feature net, read before anything is timed."""
    return load_features(FEATURES)


class Pixels(Dataset):
    """Images as torch-fidelity takes them: uint8 [C, H, W]."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        """Number of images."""
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:
        """One image."""
        return self.pixels[index]


class Extractor(FeatureExtractorBase):
    """The project's feature net behind torch-fidelity's interface."""

    def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
        super().__init__(name, features_list)
        self.net = loaded()

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        """The penultimate layer alone."""
        return ("features",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        """The same for every metric."""
        return "features"

    @staticmethod
    def can_be_compiled() -> bool:
        """It runs as it is."""
        return False

    def forward(self, input: Tensor) -> tuple[Tensor, ...]:
        """Features of a batch of uint8 images."""
        return (self.net(input.float() / 127.5 - 1)[0],)


def images(count: int) -> tuple[Tensor, Tensor]:
    """Two sets of random images, uint8: what they show does not matter to time, and both sides see the same."""
    shipped, source = Shipped(), torch.Generator().manual_seed(0)
    channels, height, width = shipped.config.dataset.image_shape
    size = count, channels, height // 4, width // 4
    coarse = [torch.randint(high, size, generator=source, dtype=torch.uint8) for high in (256, 200)]
    both = [image.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3) for image in coarse]
    return both[0], both[1]


def draw_student() -> Jobs:
    """Sum up all real training images, draw with the one-step generator (the teacher's weights) and score."""
    shipped, net = Shipped(), load_features(FEATURES)
    config, device = shipped.config, torch.device("cpu")
    size, pixels = config.evaluate.batch_size, shipped.real_images("train")
    generator = Generator(shipped.teacher.denoiser, config.distill.generator_timesteps).eval()
    noises = Noises(config.seed, STUDENT, config.dataset.image_shape, shipped.classes, device)

    def run() -> None:
        reference = summarise_pixels(net, pixels, None, size, device, max_kept=len(pixels))
        score(summarise_model(net, generator, noises, size, "student"), reference, "lenet", 0)

    return {"draw": run}


def ours(count: int, batch: int) -> Jobs:
    """The other side's scores, and all that the stage `evaluate` computes; features are drawn anew for each."""
    net, sets = load_features(FEATURES), images(count)

    def summaries() -> tuple[Summary, Summary]:
        drawn, real = (summarise_pixels(net, pixels, None, batch, torch.device("cpu")) for pixels in sets)
        return drawn, real

    def same() -> dict[str, float]:
        drawn, real = summaries()
        precision, recall = precision_recall(drawn.features, real.features, NUM_NEIGHBOURS)
        kernel = kernel_distance(drawn.features, real.features).mean
        frechet = frechet_distance(drawn.moments, real.moments)
        return {"fd_lenet": frechet, "kid_lenet": kernel, "precision": precision, "recall": recall}

    return {"same": same, "score": lambda: score(*summaries(), "lenet", 0)}


def theirs(count: int, batch: int) -> Jobs:
    """Fréchet and kernel distance, precision and recall, by torch-fidelity: as it is, and saving memory.

    By itself it starts up to four processes that load images, whose CPU time counts. To save memory it starts none, and
    compares neighbours part by part.
    """
    multiprocessing.set_start_method("fork", force=True)  # as in a script of one's own: its data loaders start at once
    register_feature_extractor("lenet", Extractor)
    drawn, real = (Pixels(pixels) for pixels in images(count))
    loaded()

    def run(**options: bool) -> dict[str, float]:
        return calculate_metrics(
            input1=drawn,
            input2=real,
            feature_extractor="lenet",
            fid=True,
            kid=True,
            prc=True,
            kid_subsets=10,
            kid_subset_size=count // 10,
            batch_size=batch,
            cuda=False,
            cache=False,
            verbose=False,
            **options,
        )

    return {"score": run, "score_saving_memory": partial(run, save_cpu_ram=True)}


def measure(plan: Plan) -> dict[str, Any]:
    """Seconds of each side, the ratio, and the scores of both, which agree; seconds of 10,000 drawn and scored."""
    Shipped().real_images("train")  # refused now rather than after the repeats
    batch = Shipped().config.evaluate.batch_size
    our_side, their_side = Worker(ours, COUNT, batch, tuned=True), Worker(theirs, COUNT, batch, tuned=False)
    sides = {
        "ours": (our_side, "same"),
        "ours_all_scores": (our_side, "score"),
        "torch_fidelity": (their_side, "score"),
        "torch_fidelity_saving_memory": (their_side, "score_saving_memory"),
    }
    times, facts = in_turns(sides, plan, finally_ask=sides)
    once = Plan(1, plan.clock)
    drawn, _ = in_turns({"student_10000": (Worker(draw_student, tuned=True), "draw")}, once)
    return {
        "images_a_set": COUNT,
        "seconds": {name: summary(values) for name, values in (times | drawn).items()},
        "scores": facts,
        "ratios": {
            "evaluation_over_torch_fidelity": ratio(times["ours"], times["torch_fidelity"]),
            "evaluation_over_torch_fidelity_saving_memory": ratio(times["ours"], times["torch_fidelity_saving_memory"]),
            "evaluation_all_scores_over_torch_fidelity": ratio(times["ours_all_scores"], times["torch_fidelity"]),
        },
    }

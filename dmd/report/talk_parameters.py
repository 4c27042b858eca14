"""The parameters of the talk that this project reproduces: its table, column by column, unchanged, and its images."""

from collections.abc import Mapping

TALK: Mapping[str, Mapping[str, str]] = {
    "mnist": {
        "images": "1 × 28 × 28",
        "total parameters": "6,585,601",
        "pretrained model": "TeaPearce/Conditional_Diffusion_MNIST",
        "pre-computed pairs": "12,800",
        "learning rate, generator": "5e-06",
        "learning rate, fake score": "5e-06",
        "batch size": "64",
        "epochs of the pairs": "10",
        "steps": "2,000",
        "betas": "1e-4 … 1e-2",
        "timesteps T": "400",
    },
    "celeba": {
        "images": "3 × 32 × 32",
        "total parameters": "426,691",
        "pretrained model": "trained here",
        "pre-computed pairs": "12,800",
        "learning rate, generator": "5e-06",
        "learning rate, fake score": "5e-06",
        "batch size": "64",
        "epochs of the pairs": "10",
        "steps": "2,000",
        "betas": "1e-4 … 2e-2",
        "timesteps T": "1,000",
    },
    "cifar10": {
        "images": "3 × 32 × 32",
        "total parameters": "35,746,307",
        "pretrained model": "google/ddpm-cifar10-32",
        "pre-computed pairs": "4,864",
        "learning rate, generator": "1e-06",
        "learning rate, fake score": "1e-06",
        "batch size": "64",
        "epochs of the pairs": "20",
        "steps": "1,520",
        "betas": "1e-4 … 1e-2",
        "timesteps T": "1,000",
    },
}
"""By system, then by the rows of `dmd.report.tables.parameter_table`; T is that of its pictures of usual generation.

Where the talk contradicts a checkpoint, the checkpoint is right: the networks of mnist and cifar10 were trained with
betas up to 2e-2. The talk calls the generator's learning rate that of its real score.
"""

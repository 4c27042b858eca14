"""The scheduler config that goes to disk with a teacher."""

from collections.abc import Mapping
from typing import Any

from diffusers import ModelMixin

from dmd.models.compatibility import check_own_schedule
from dmd.models.network_configs import TeaPearceConfig
from dmd.models.teapearce import TeaPearceUNet, trained_betas


def scheduler_config(backbone: ModelMixin, config: Mapping[str, Any]) -> dict[str, Any]:
    """A scheduler's config as `backbone` counts it: with betas of its own for a `TeaPearceUNet`, else as it is.

    Raises:
        ValueError: a `TeaPearceUNet` under another schedule than its own; names the key and both values.
    """
    if not isinstance(backbone, TeaPearceUNet):
        return dict(config)
    check_own_schedule(TeaPearceConfig.model_validate(dict(backbone.config)), config)
    own = {key: backbone.config[key] for key in ("num_train_timesteps", "beta_start", "beta_end")}
    return {**config, "trained_betas": trained_betas(**own)}


def canonical_scheduler(schedule: Mapping[str, Any]) -> dict[str, Any]:
    """A scheduler's config of the training schedule alone: what every later stage reads.

    `clip_sample`, `thresholding` and the like hold a predicted x0 in [-1, 1] at each step of a sampler, of diffusers'
    DDIM too. Here they are left out, whatever the checkpoint says: pairs solve the probability-flow ODE of the network
    as it is, the same with every solver, and the scores of distillation are the network's own.
    """
    return {**schedule, "clip_sample": False}

"""A system by its name: the params that describe it."""

from pathlib import Path

from dmd.params.config import Config, load_config


def find_config(system: str) -> Config:
    """The params of `params.yaml` or of `pipelines/<system>/params.yaml`, whichever is that system's.

    Raises:
        ValueError: neither is; names the systems that there are.
    """
    paths = [path for path in (Path("params.yaml"), *sorted(Path().glob("pipelines/*/params.yaml"))) if path.is_file()]
    configs = {config.system: config for config in map(load_config, paths)}
    if system not in configs:
        raise ValueError(f"{system!r} is no system here; these are: {', '.join(configs) or 'none'}")
    return configs[system]

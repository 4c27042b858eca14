"""A system by its name: the params that describe it."""

from pathlib import Path

from dmd.params.config import Config, load_config
from dmd.params.dialect import read_yaml


def find_config(system: str) -> Config:
    """The params of `params.yaml` or of `pipelines/<system>/params.yaml`, whichever is that system's.

    Only that one's params need be whole.

    Raises:
        ValueError: neither is, or several are; names them, or the systems that there are.
    """
    paths = [path for path in (Path("params.yaml"), *sorted(Path().glob("pipelines/*/params.yaml"))) if path.is_file()]
    named = {path: _system_of(path) for path in paths}
    found = [path for path, name in named.items() if name == system]
    if not found:
        known = ", ".join(name for name in named.values() if name) or "none"
        broken = ", ".join(str(path) for path, name in named.items() if name is None)
        unread = f"; not to be read: {broken}" if broken else ""
        raise ValueError(f"{system!r} is no system here; these are: {known}{unread}")
    if len(found) > 1:
        raise ValueError(f"{system!r} is the system of {', '.join(map(str, found))}; give each a name of its own")
    return load_config(found[0])


def _system_of(path: Path) -> str | None:
    """The name in a params file; None where it cannot be read."""
    try:
        values = read_yaml(path)
    except (OSError, ValueError):
        return None
    name = values.get("system") if isinstance(values, dict) else None
    return name if isinstance(name, str) else None

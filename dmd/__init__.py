"""One-step diffusion distillation: the core library.

It knows nothing of DVC, Typer or the stages, but for the room on top, `commands`. `__all__` is what is public: these
names stay as they are. All else is private, and changes with the pipeline; docs/library.md shows how they are used.
"""

import importlib
from typing import Any

_PLACES = {
    "Distilled": "dmd.library.distillation",
    "Generator": "dmd.diffusion.generator",
    "NoiseSchedule": "dmd.diffusion.schedule",
    "OwnTeacher": "dmd.library.teacher",
    "Pairs": "dmd.library.pairs",
    "default_settings": "dmd.library.settings",
    "distill_generator": "dmd.library.distillation",
    "draw_pairs": "dmd.library.pairs",
    "load_generator": "dmd.models.pipeline",
}
"""Where each public name is; imported when it is first asked for, since every stage imports this file."""

__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    """A public name, from its room (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

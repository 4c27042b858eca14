"""The types of what `dmd/__init__.py` imports when it is asked for."""

from dmd.diffusion.generator import Generator as Generator
from dmd.diffusion.schedule import NoiseSchedule as NoiseSchedule
from dmd.library.distillation import Distilled as Distilled
from dmd.library.distillation import distill_generator as distill_generator
from dmd.library.pairs import Pairs as Pairs
from dmd.library.pairs import draw_pairs as draw_pairs
from dmd.library.settings import default_settings as default_settings
from dmd.library.teacher import OwnTeacher as OwnTeacher
from dmd.models.pipeline import load_generator as load_generator

__all__: list[str]

"""One-step diffusion distillation: the core library.

It knows nothing of DVC, Typer or the stages, but for the room on top, `commands`.
"""

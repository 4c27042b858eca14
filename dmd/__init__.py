"""One-step diffusion distillation: the core library. It knows nothing of DVC, Typer or the stages."""

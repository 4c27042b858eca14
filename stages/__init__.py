"""One Typer command per DVC stage: load, call the core, save."""

from dmd.runtime.threads import share_cores

share_cores()  # before a module below imports torch

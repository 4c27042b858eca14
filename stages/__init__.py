"""One Typer command per DVC stage: load, call the core, save."""

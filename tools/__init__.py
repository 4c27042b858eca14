"""Commands beside the pipeline: what made the shipped assets, the tables in `docs/`, and the checks."""

from dmd.runtime.threads import share_cores

share_cores()  # before a module below imports torch

"""Commands beside the pipeline: what made the shipped assets, the tables in `docs/`, and the checks."""

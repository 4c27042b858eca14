"""The sections of `params.yaml`: one frozen class each, bounds on every field, unknown keys forbidden."""

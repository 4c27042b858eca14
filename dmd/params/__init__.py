"""`params.yaml`, typed: one frozen class a section, bounds on every field, unknown keys forbidden.

Only stages, tools and commands read the whole of it (`params.config`); a room takes plain arguments or one section.
"""

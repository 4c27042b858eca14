"""The library for people: a network of one's own, tensors in memory, no params file and no DVC; `import dmd` offers it.

May import the rooms of the stages and what is below them; nobody imports it but `dmd/__init__.py`, by name.
"""

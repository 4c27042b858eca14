"""The command line for people, `dmd`: compare runs, measure a teacher, try params, take the generator elsewhere.

A command is a file with a function of its own name, light to import; what it does lies in the files named by nouns.
May import every other room and the stages; only tools and benchmarks import it, and no stage.
"""

from dmd.runtime.threads import share_cores

share_cores()  # before a module below imports torch

"""What the stages' command lines share: the one argument, errors as one line, processes, edits under way."""

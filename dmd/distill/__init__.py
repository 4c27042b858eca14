"""What the stage `distill` does: the losses, the three networks in turns, and the loop around them.

No other stage's room enters it.
"""

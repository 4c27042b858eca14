"""What the stage `report` does: tables, curves, pictures and the page, all from the files of the stages before.

No other stage's room enters it.
"""

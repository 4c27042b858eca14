"""What every long job needs of the machine: whole files, locks, work folders, the places of a system.

Imports nothing of `dmd`.
"""

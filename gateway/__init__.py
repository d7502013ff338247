"""From outside to values: HTTP requests, clock ticks, file changes, uploads, operator commands.

The gateway turns what comes from outside into values and hands them to the scheduler. It knows
nothing of processes or pipes; only `server.py`, the composition root, names all three layers.
"""

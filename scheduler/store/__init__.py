"""Durable state: one port, one adapter per engine.

`port.py` says what is promised (its nouns stand in `port_*.py`), `memory*.py` is the reference that
tests compare with, `sqlite*.py` is the default, `opening.py` makes a store from a URL. The store
knows runs, ticks, queued work, leases, settings, deployments, members and commands as rows; it
never starts anything, and nothing above it sees SQL.
"""

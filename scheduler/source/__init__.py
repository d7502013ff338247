"""Deployments from outside: a tree that somebody pushed or uploaded, built and put into the site.

`deliveries.py` owns them; `build.py` makes dependencies, `folder_swap.py` writes the site's files.
Whether a tree may serve is decided by `scheduler/deployments.py`, as for files that were saved.
"""

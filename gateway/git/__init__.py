"""Deploying by `git push` over HTTP: the repository in the home, and what happens to a push."""

"""Kudu's WebJobs API and its neighbours, as its clients know them (webjobs.md 6).

Shapes, words, texts and quirks are a foreign contract: what looks odd here is odd there. Our own
API is `gateway.native`.
"""

"""The channel's fuzzer: mutated frames against everything of the host that reads from a guest.

`python -m tests.fuzz --frames 1000000` is the long run; test_fuzz.py has a short and a middle one.
A case is made from its target's name, the seed and its number alone, so each can be repeated.
"""

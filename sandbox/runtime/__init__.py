"""The guest side: the only code of ours that enters a process with user code.

Standard library and msgpack only, relative imports only. `boot.py` loads this folder under the
private name `_runtime`, so that no public name is taken from the user.
"""

"""The command line: one module a group of verbs, each imported only when its verb is asked for.

Every verb but `run`, `validate` and `keys` is a client of the management listener's `/v1`; nothing
here reads the store or the site behind the platform's back.
"""

"""One isolated process, and the tree under it.

The sandbox starts, talks to and ends processes. It knows nothing of functions, HTTP or cron.
`sandbox.runtime` is the guest side: the only code of ours that enters a process with user code.
"""

"""The contract of WebJobs from outside: files and HTTP against a real platform, rule by rule.

Each test's docstring begins with the section of the specification that it holds the platform to.
"""

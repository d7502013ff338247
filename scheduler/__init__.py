"""What is deployed, and what runs when, on which lease.

The scheduler owns definitions (functions, jobs, releases), durable state (the store) and every
decision about running. It knows nothing of HTTP and nothing of forks: below it stands `sandbox`.
"""

"""The native API under /v1: JSON in and out, one file per noun, problems as RFC 9457.

Every route stands in a table of its noun's file; the router and the OpenAPI document are both made
from these tables, so neither can know a route that the other does not.
"""

"""The five bytes as functions of functions-framework."""

from __future__ import annotations

from typing import Any

import functions_framework
import functions_framework.aio


@functions_framework.http
def hello(_request: Any) -> str:
    """Answer the five bytes."""
    return "hello"


@functions_framework.aio.http
async def hello_async(_request: Any) -> str:
    """Answer the five bytes."""
    return "hello"

"""Requests to a registry that listens on plain HTTP."""

from typing import Any

import httpx


def ask(method: str, url: str, **more: Any) -> httpx.Response:
    """Without the authorities that httpx loads for each request: longer than a start takes."""
    return httpx.request(method, url, verify=False, **more)

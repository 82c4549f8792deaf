"""A page of a browser that remembers all that it said and asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["Watched", "watched"]


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A page with all that it said and asked for."""

    page: Page
    console: list[str] = field(default_factory=list)
    """Errors and warnings of the console, and exceptions nobody caught: ``error: text``."""

    requests: list[str] = field(default_factory=list)
    """Addresses of every request, also of those that were answered from within (``data:``, ``blob:``)."""

    failed: list[str] = field(default_factory=list)
    """``404 address`` of answers from 400 on, ``net::ERR_... address`` of requests without any."""

    @property
    def external(self) -> list[str]:
        """Requests that leave this machine."""
        near = ("data:", "blob:", "about:", "file:", "http://127.0.0.1:", "http://localhost:")
        return [address for address in self.requests if not address.startswith(near)]


def watched(page: Page) -> Watched:
    """Write down what a page says and asks for, from here on."""
    seen = Watched(page=page)

    def told(message: Any) -> None:
        if message.type in ("error", "warning"):
            seen.console.append(f"{message.type}: {message.text}")

    def answered(response: Any) -> None:
        if response.status >= 400:
            seen.failed.append(f"{response.status} {response.url}")

    page.on("console", told)
    page.on("pageerror", lambda error: seen.console.append(f"exception: {error}"))
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("requestfailed", lambda request: seen.failed.append(f"{request.failure} {request.url}"))
    page.on("response", answered)
    return seen

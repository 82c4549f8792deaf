"""Whether a host can be asked, before a client library retries for most of a minute."""

from __future__ import annotations

import socket
import urllib.request
from urllib.parse import urlsplit

from trainables.errors import WeightsUnavailable

__all__ = ["require_network"]


def require_network(url: str, missing: str) -> None:
    """Refuse at once where the host of `url` is out of reach.

    The hub clients retry for most of a minute before they say the same. Behind a proxy the host cannot
    be asked directly, so nothing is refused there.

    Raises:
        WeightsUnavailable: the host does not resolve or does not answer within 3 s.
    """
    host = urlsplit(url).hostname or url
    if "https" in urllib.request.getproxies():
        return
    try:
        socket.create_connection((host, 443), timeout=3).close()
    except OSError as error:
        raise WeightsUnavailable(
            f"{missing} and {host} is out of reach ({error}); fetch them once on a machine with network "
            "and bring the cache folder along, or use '@random' for an untrained control"
        ) from error

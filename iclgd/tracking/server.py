"""What can be known of W&B's server without W&B's client."""

import http.client
import netrc
import os
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

NO_API_KEY = "no API key is configured"
SECONDS_TO_ANSWER = 3.0


def missing_for_online(url: str) -> str | None:
    """Return why W&B's server cannot be used, ``None`` if it can.

    Args:
        url: its address.
    """
    if not _has_api_key(url):
        return NO_API_KEY
    return None if _answers(url) else f"no answer from {url}"


def _has_api_key(url: str) -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(url).netloc
    candidates = [os.environ.get("NETRC"), "~/.netrc", "~/_netrc"]
    for path in (Path(name).expanduser() for name in candidates if name):
        try:
            if netrc.netrc(path).authenticators(host):
                return True
        except (OSError, ValueError, netrc.NetrcParseError):  # ValueError: no text
            continue
    return False


def _answers(url: str) -> bool:
    """Say whether anything speaks HTTP there; even a refusal is an answer."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/healthz", timeout=SECONDS_TO_ANSWER):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError, http.client.HTTPException):  # something else speaks there
        return False

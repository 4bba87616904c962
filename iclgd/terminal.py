"""What is said to the user: one line at a time on standard error, safe to show, and never a reason to fail."""

import contextlib
import sys

MOST_CHARACTERS = 2000  # of one line: what somebody typed or a file holds may be of any length


def escaped(text: str, most: int = MOST_CHARACTERS) -> str:
    r"""Return a text as one line without control characters, the middle left out if it is long.

    Names of files, keys and values come from strangers: raw, they could move the cursor or ring the bell.

    Args:
        text: any text.
        most: how many characters are shown.

    Example:
        >>> escaped("a\x1b[2Jb\n")
        'a\\x1b[2Jb\\n'
    """
    if len(text) > most:
        text = f"{text[: most // 2]} ... ({len(text) - most:,} characters left out) ... {text[-(most // 2) :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def say(line: str) -> None:
    """Print a line on standard error, escaped; a reader who has left, or a full disk behind it, changes nothing."""
    with contextlib.suppress(OSError, ValueError):
        print(escaped(line), file=sys.stderr, flush=True)  # noqa: T201

"""What is said to the user: lines and tables that are safe to show, whatever a stranger's names and values hold."""

import contextlib
import math
import sys
from typing import TYPE_CHECKING, Any

from iclgd.streams import dropping

if TYPE_CHECKING:
    from rich.console import Console

MOST_CHARACTERS = 2000  # of one line: what somebody typed or a file holds may be of any length


def escaped(text: str, most: float = MOST_CHARACTERS) -> str:
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
        half = int(most // 2)
        text = f"{text[:half]} ... ({len(text) - 2 * half:,} characters left out) ... {text[-half:]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def say(line: str) -> None:
    """Print a line on standard error, escaped; a reader who has left, or a full disk behind it, changes nothing."""
    with contextlib.suppress(OSError, ValueError):
        print(escaped(line), file=sys.stderr, flush=True)  # noqa: T201


def show(line: object) -> None:
    """Print a result on standard output, escaped and whole."""
    print(escaped(str(line), math.inf), flush=True)  # noqa: T201


def show_table(renderable: Any) -> None:
    """Print one of rich's tables on standard output; rich itself would end the program if its reader has left."""
    prints = console()
    with prints.capture() as captured:
        prints.print(renderable)
    sys.stdout.write(captured.get())


def console(stderr: bool = False) -> "Console":
    """Return what prints tables: texts are shown as they are, escaped, and ``[red]`` in one is no markup.

    What the reader of standard error, who may leave, does not take is dropped.
    """
    import rich.console

    class _Console(rich.console.Console):
        def render_str(self, text: str, **options: Any) -> Any:
            lines = (escaped(line, math.inf) for line in text.split("\n"))
            return super().render_str("\n".join(lines), **options)

    return _Console(file=dropping(sys.stderr) if stderr else None, markup=False, emoji=False)

"""Texts that users wrote, as a review shows them: short, on one line, without what a terminal or page might obey."""

from collections.abc import Sequence

MOST_LETTERS = 60  # of a name or a value


def shortened(value: object, most: int = MOST_LETTERS) -> str:
    """Return a text on one line, with no more than so many characters.

    Characters that are not printable, such as controls and marks that turn the direction of writing, become spaces.

    Example:
        >>> shortened("a\\tb\\u202ec"), shortened("x" * 100, 5)
        ('a b c', 'xxxx…')
    """
    text = "".join(letter if letter.isprintable() else " " for letter in str(value)[: 4 * most])
    text = " ".join(text.split())
    return text if len(text) <= most and len(str(value)) <= 4 * most else f"{text[: most - 1]}…"


def listed(texts: Sequence[str], most: int = 4) -> str:
    """Write texts one after the other, of many the first ones and how many more there are.

    Example:
        >>> listed(["a"]), listed(["a", "b", "c"]), listed(list("abcdef"))
        ('a', 'a, b and c', 'a, b, c, d and 2 more')
    """
    if len(texts) > most:
        return f"{', '.join(texts[:most])} and {len(texts) - most:,} more"
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def counted(number: int, one: str, many: str = "") -> str:
    """Write how many things there are.

    Example:
        >>> counted(1, "run"), counted(1200, "run"), counted(2, "query", "queries")
        ('1 run', '1,200 runs', '2 queries')
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def number_text(value: float) -> str:
    """Write a number with as many digits as a reader needs.

    Example:
        >>> number_text(0.207634), number_text(float("nan")), number_text(12345.6), number_text(0.99923)
        ('0.2076', 'nan', '1.235e+04', '0.9992')
    """
    return f"{value:.4g}"

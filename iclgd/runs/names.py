"""Names that somebody asks for, and those that there are."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from iclgd.checks import InputError, did_you_mean

T = TypeVar("T")


class UnknownNameError(InputError, KeyError):
    """A name that there is not."""

    __str__ = Exception.__str__  # a KeyError would quote its message


class Named(dict[str, T]):
    """A dictionary that says which names there are when it is asked for another.

    Args:
        kind: what the names are of, for the message.
        values: by name.
        hint: what else to say.

    Example:
        >>> Named("model", {"transformer": 1, "gd": 2})["transfomer"]
        Traceback (most recent call last):
        iclgd.runs.names.UnknownNameError: unknown model 'transfomer'; known: transformer, gd; did you mean transformer?
    """

    def __init__(self, kind: str, values: dict[str, T], hint: str = "") -> None:
        super().__init__(values)
        self.kind, self.hint = kind, hint

    def __missing__(self, name: str) -> T:
        raise unknown(self.kind, name, self, self.hint)


def unknown(kind: str, name: str, known: Iterable[str], hint: str = "") -> UnknownNameError:
    """Return the error that there is no such name."""
    names = list(known)
    there = f"known: {', '.join(names)}" if names else "there is none"
    return UnknownNameError(
        f"unknown {kind} {name!r}; {there}{did_you_mean(name, names)}{f' ({hint})' if hint else ''}"
    )


def check_names(kind: str, names: Sequence[str], known: Iterable[str]) -> None:
    """Refuse the first name that is not known.

    Raises:
        UnknownNameError: if there is one.
    """
    known = list(known)
    for name in names:
        if name not in known:
            raise unknown(kind, name, known)

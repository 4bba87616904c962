"""Docstrings as mkdocstrings wants them: its parser knows no roles of Sphinx, and no single ``Example:``."""

import re
from typing import Any

import griffe

_ROLE = re.compile(r":\w+:(?=`)")
_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)


class PlainDocstrings(griffe.Extension):
    """Rewrites every docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite one."""
        if obj.docstring is not None:
            obj.docstring.value = plain(obj.docstring.value)


def plain(docstring: str) -> str:
    """Return a docstring without roles, and with its examples under the title that is read as code.

    Example:
        >>> plain("See :func:`load`.")
        'See `load`.'
    """
    return _EXAMPLE.sub("Examples:", _ROLE.sub("", docstring))

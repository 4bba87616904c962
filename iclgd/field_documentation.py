"""What a dataclass says about its fields: the string below each, where documentation tools look for it, too."""

import ast
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache


@cache
def documentation_of(kind: type) -> Mapping[str, str]:
    """Return the documentation of a dataclass's fields by their names; a field without any says what a base class says.

    It is read from the source: Python keeps no string that stands below a field. Where there is no source, in a
    notebook of a program that does not keep it, say, there is no documentation.

    Example:
        >>> from iclgd.tracking.wandb import TrackingConfig
        >>> documentation_of(TrackingConfig)["project"]
        "W&B's project."
    """
    documentation: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if is_dataclass(each):
            documentation |= _own(each)
    return documentation


def summary_of(kind: type) -> str:
    """Return the first line of a class's own documentation."""
    return (kind.__doc__ or "").strip().partition("\n")[0]


def _own(kind: type) -> dict[str, str]:
    try:
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, TypeError):
        return {}
    assert isinstance(definition, ast.ClassDef)
    own = {}
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            text = below.value
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                own[field.target.id] = " ".join(text.value.split())
    return own

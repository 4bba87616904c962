"""How series look on the page: a colour, a line and a marker for each role, told apart without colour too.

The colours are those of Okabe and Ito (2008), safe for the colour-blind; the page's style sheet has their values, for
light and dark, under the names that stand here.
"""

from collections.abc import Sequence
from typing import NamedTuple

from iclgd.review.document import Role

Look = tuple[str, tuple[int, ...], str]
OF_ROLE: dict[Role, Look] = {  # colour, dashes, marker
    "transformer": ("blue", (), "circle"),
    "gd": ("vermilion", (7, 3), "square"),
    "gd_plus_plus": ("green", (3, 2), "triangle-up"),
    "interpolated": ("purple", (1, 2), "diamond"),
    "control": ("grey", (6, 2, 1, 2), "cross"),
    "chance": ("ink", (1, 3), "triangle-down"),
    "paper": ("orange", (9, 3, 3, 3), "diamond"),
    "other": ("sky", (), "circle"),
}
# For further series of one role, and for those of none, in turn.
COLOURS = ("sky", "orange", "green", "purple", "blue", "vermilion", "grey")
DASHES = ((), (7, 3), (2, 2), (8, 2, 2, 2), (4, 2))
MARKERS = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")

MOST_STYLES = len(COLOURS) * len(DASHES) * len(MARKERS)


class Style(NamedTuple):
    """How one series is drawn.

    Attributes:
        label: in the legend.
        colour: the name of one of the page's colours.
        dashes: lengths of dashes and gaps; none for a whole line.
        marker: one of Vega's symbols.
        opacity: of bars, which have neither line nor marker.
    """

    label: str
    colour: str
    dashes: tuple[int, ...] = ()
    marker: str = "circle"
    opacity: float = 1.0


Key = tuple[str, Role]


def series_styles(panels: Sequence[Sequence[Key]]) -> dict[Key, Style]:
    """Return a style for each label and role of a figure; in one panel, all differ; the first of a role has its own.

    Args:
        panels: labels and roles of each.

    Example:
        >>> panels = [[("trained", "transformer"), ("seed 1", "transformer")], [("cosine", "transformer")]]
        >>> for style in series_styles(panels).values():
        ...     print(*style)
        trained blue () circle 1.0
        seed 1 blue (7, 3) square 0.7
        cosine blue () circle 1.0
    """
    beside: dict[Key, set[Key]] = {}
    for keys in panels:
        for key in keys:
            beside.setdefault(key, set()).update(keys)
    styles: dict[Key, Style] = {}
    for (label, role), others in beside.items():
        taken = {styles[other][1:4] for other in others if other in styles}
        candidates = (_style(label, role, number) for number in range(MOST_STYLES))
        styles[label, role] = next((style for style in candidates if style[1:4] not in taken), _style(label, role, 0))
    return styles


def _style(label: str, role: Role, number: int) -> Style:
    colour, dashes, marker = OF_ROLE[role]
    opacity = 1.0
    if role == "other":
        colour = COLOURS[number % len(COLOURS)]
    else:
        opacity = max(0.3, round(1 - 0.3 * number, 1))
    if number:
        dashes, marker = DASHES[number % len(DASHES)], MARKERS[number % len(MARKERS)]
    return Style(label, colour, dashes, marker, opacity)

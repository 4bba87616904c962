"""What a text run's model sees, printed."""

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from iclgd.checks import InputError
from iclgd.quick_imports import quick_imports
from iclgd.terminal import escaped, say, show, show_table

if TYPE_CHECKING:
    from iclgd.experiments.shown_prompts import Part, ShownPrompts, ShownToken

LEGEND = """Below a text its tokens, as the vocabulary names them; [special] ones so.
A query's last token predicts the answer; measures look at the last one of all."""
UNCOUNTED = "What a layer's mask hides (windows) does not count."


def show_prompt(arguments: argparse.Namespace) -> int:
    """Print what the model sees of a query in each setting."""
    with quick_imports():
        from iclgd import config as configs
        from iclgd import own_entries
        from iclgd.experiments import text
        from iclgd.runs.opening import config_and_name

    own_entries.load(arguments.imports)
    path, name = config_and_name(arguments.config)
    config = configs.load(path, arguments.overrides)
    if not isinstance(config, text.Config):
        raise InputError(f"{name}: no config of a text run, but experiment: {config.experiment}")
    from iclgd.experiments.shown_prompts import shown_prompts

    shown = shown_prompts(config, arguments.query, arguments.draw)
    if arguments.json:
        sys.stdout.write(json.dumps(dataclasses.asdict(shown), indent=1) + "\n")
        return 0
    _show(shown)
    return 0


def _show(shown: "ShownPrompts") -> None:
    for note in shown.notes:
        say(f"note: {note}")
    right = shown.answers[shown.label].text
    show(f"{shown.task}: query {shown.query} of {shown.num_queries}, right answer {right!r}; model: {shown.model}")
    for line in LEGEND.splitlines():
        show(line)
    _show_sequence("Zero-shot; finetuned, after the steps below", shown.settings["zero_shot"])
    _show_sequence("In context", shown.settings["in_context"])
    answers = [
        ("right" if answer.number == shown.label else "", _visible(answer.text), _pieces(answer.tokens))
        for answer in shown.answers
    ]
    _show_rows("Answers, each after the query: its score is its tokens' mean log-probability", answers)
    finetuning = [
        (str(number), _pieces([token for part in parts for token in part.tokens]))
        for number, parts in enumerate(shown.finetuning, start=1)
    ]
    _show_rows(f"Finetuning, {len(finetuning)} steps: the loss is of all tokens but a step's first", finetuning)
    _show_measures(shown)


def _show_sequence(title: str, parts: "Sequence[Part]") -> None:
    rows = []
    for part in parts:
        number = "" if part.number is None else f" {part.number + 1}"
        rows.append((str(part.position), f"{part.name}{number}", f"{_visible(part.text)}\n{_pieces(part.tokens)}"))
    length = parts[-1].position + len(parts[-1].tokens)
    _show_rows(f"{title}: {length} tokens", rows)


def _show_measures(shown: "ShownPrompts") -> None:
    resting: dict[tuple[str, ...], list[str]] = {}
    for name, kinds in shown.measures.items():
        resting.setdefault(kinds, []).append(name)
    rows = []
    for kinds, names in resting.items():
        where = [_where(kind, shown.tokens["in_context"]) for kind in kinds] or ["not said"]
        rows.append(("\n".join(where), "\n".join(names)))
    _show_rows("Which tokens count, by their places in context, for which measures", rows)
    show(UNCOUNTED)


def _where(kind: str, places: "dict[str, tuple[int, ...]]") -> str:
    return f"{kind}: {_ranges(places[kind]) if kind in places else 'after the query'}"


def _show_rows(title: str, rows: "Sequence[tuple[str, ...]]") -> None:
    """Print a table without lines, whose last column may be broken."""
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in rows[0][:-1]:
        table.add_column(overflow="fold", max_width=40)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    show("")
    show(title)
    show_table(table)


def _pieces(tokens: "Sequence[ShownToken]") -> str:
    """Return tokens on one line."""
    names = (_visible(token.piece).replace(" ", r"\x20") for token in tokens)
    return " ".join(f"[{name}]" if token.is_special else name for name, token in zip(names, tokens, strict=True))


def _visible(text: str) -> str:
    return escaped(text, math.inf)


def _ranges(positions: Sequence[int]) -> str:
    """Return positions as ranges.

    Example:
        >>> _ranges([1, 2, 3, 5, 7, 8])
        '1-3, 5, 7-8'
    """
    ends: list[list[int]] = []
    for position in positions:
        if ends and ends[-1][1] + 1 == position:
            ends[-1][1] = position
        else:
            ends.append([position, position])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ends) or "none"

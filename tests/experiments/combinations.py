"""Configs in which every two values of different keys meet, as far as they are allowed to."""

import itertools
import random
from collections.abc import Callable, Mapping, Sequence

Row = dict[str, str]
NUM_TRIES = 300  # to complete two values to a config that is allowed
MOST_FOUND = 12  # of which the one is taken that has most pairs that are left


def pairwise(
    values: Mapping[str, Sequence[str]],
    is_allowed: Callable[[Row], bool],
    keys: Sequence[str] | None = None,
    seed: int = 0,
) -> tuple[list[Row], list[tuple[tuple[str, str], tuple[str, str]]]]:
    """Return rows that have every two values together, and those two that no allowed row was found for.

    Args:
        values: of each key, the plainest first.
        is_allowed: says whether a whole row is.
        keys: between which all pairs are to meet; the others take any value. All keys if ``None``.
        seed: of the choices.
    """
    generator = random.Random(seed)
    pairs = [
        ((one, a), (other, b))
        for one, other in itertools.combinations(keys or list(values), 2)
        for a in values[one]
        for b in values[other]
    ]
    rows: list[Row] = []
    impossible = []
    left = set(pairs)
    for pair in pairs:
        if pair not in left:
            continue
        best: Row | None = None
        most, found = 0, 0
        for attempt in range(NUM_TRIES):
            plainness = attempt / NUM_TRIES  # the longer it takes, the more keys have their first and plainest value
            row = {
                key: options[0] if generator.random() < plainness else generator.choice(options)
                for key, options in values.items()
            } | dict(pair)
            if not is_allowed(row):
                continue
            items, found = set(row.items()), found + 1
            gain = sum(one in items and other in items for one, other in left)
            if gain > most:
                best, most = row, gain
            if found == MOST_FOUND:
                break
        if best is None:
            impossible.append(pair)
            left.discard(pair)
            continue
        rows.append(best)
        items = set(best.items())
        left = {other for other in left if not (other[0] in items and other[1] in items)}
    return rows, impossible

"""Tables of a section: its settings, its runs, and of text runs what the model has answered."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from iclgd.report.comparisons import estimate
from iclgd.review.document import Answer, Cell, Table
from iclgd.review.gather import ReviewedRun
from iclgd.review.headline import KEY_NUMBERS
from iclgd.review.settings import DRAW, Setting, differing, is_setting, short_names, value_text
from iclgd.review.texts import counted, shortened

MOST_RUNS, MOST_SETTINGS, MOST_QUERIES = 100, 50, 12
MOST_KEYS = 6  # columns of what differs
MOST_LETTERS_OF_QUERY = 100
SETTINGS = {"zero_shot": "zero-shot", "in_context": "in-context", "finetuned": "finetuned"}


def settings_table(settings: Sequence[Setting], answers: Sequence[Answer | None], what: str = "") -> Table:
    """Return a row for each setting, with means and intervals over its repetitions.

    Args:
        settings: of the section.
        answers: of each, to the first question.
        what: the question.
    """
    experiment = settings[0].experiment if settings else ""
    names = [name for name in KEY_NUMBERS.get(experiment, ()) if any(each.values(name) for each in settings)]
    repetitions = f"{settings[0].what}s" if settings else "seeds"
    rows: list[list[Cell]] = [
        [setting.label or "all runs", float(len(setting.repetitions)), answer, *map(setting.estimate, names)]
        for setting, answer in zip(settings[:MOST_SETTINGS], answers, strict=False)
    ]
    note = f"Answers to: {what}" if what else ""
    if len(settings) > MOST_SETTINGS:
        note = f"{note} The first {MOST_SETTINGS} of {counted(len(settings), 'setting')}.".strip()
    return Table("Settings", ["setting", repetitions, "answer", *names], rows, note)


def runs_table(runs: Sequence[ReviewedRun]) -> Table:
    """Return a row for each run: its state, its seeds, what differs, and its headline numbers."""
    configs = [run.config for run in runs]
    keys = [key for key in differing(configs) if is_setting(key) and key not in ("seed", DRAW)]
    names = short_names(keys[:MOST_KEYS])
    numbers = KEY_NUMBERS.get(runs[0].experiment, ()) if runs else ()
    numbers = tuple(name for name in numbers if any(name in run.summary for run in runs))
    has_draws = any(DRAW in config for config in configs)
    columns = ["run", "state", "seed", *(["draw"] if has_draws else []), *names.values(), *numbers]
    rows: list[list[Cell]] = []
    for run in runs[:MOST_RUNS]:
        row: list[Cell] = [shortened(run.name), run.state, _seeds(run)]
        row += [_cell(run.config, DRAW)] if has_draws else []
        row += [_cell(run.config, key) for key in names]
        rows.append([*row, *(estimate(dict(run.summary), name) for name in numbers)])
    parts = []
    if len(runs) > MOST_RUNS:
        parts.append(f"The first {MOST_RUNS} of {counted(len(runs), 'run')}")
    if len(keys) > MOST_KEYS:
        parts.append(f"{len(keys) - MOST_KEYS} more keys differ")
    return Table("Runs", columns, rows, "".join(f"{part}. " for part in parts).strip())


def queries_table(runs: Sequence[ReviewedRun]) -> Table | None:
    """Return the first answers of the first run that has any; ``None`` if none has."""
    for run in runs:
        queries = _queries(run.predictions) if run.experiment == "text" and run.is_complete else {}
        if queries:
            break
    else:
        return None
    rows: list[list[Cell]] = []
    for number, answers in list(queries.items())[:MOST_QUERIES]:
        first = next(iter(answers.values()))
        row: list[Cell] = [float(number), shortened(first.get("text"), MOST_LETTERS_OF_QUERY)]
        rows.append([*row, shortened(first.get("label")), *(_choice(answers.get(each)) for each in SETTINGS)])
    note = f"Of run {shortened(run.name)}, the first {len(rows)} of {counted(len(queries), 'query', 'queries')}"
    return Table("Queries", ["query", "text", "label", *SETTINGS.values()], rows, f"{note}; scores: log-probabilities.")


def _queries(rows: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, Mapping[str, Any]]]:
    """Return the answers after the first draw by query and setting; rows of another shape are passed over."""
    found: dict[int, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        query, setting = row.get("query"), row.get("setting")
        if row.get("control") is None and not row.get("draw") and type(query) is int and setting in SETTINGS:
            found.setdefault(query, {})[str(setting)] = row
    return found


def _choice(row: Mapping[str, Any] | None) -> str | None:
    """Return what was chosen, whether that is right, and its score."""
    if row is None:
        return None
    choice, scores = row.get("choice"), row.get("scores")
    score = scores.get(choice) if isinstance(scores, Mapping) and isinstance(choice, str) else None
    written = f", {score:.2f}" if isinstance(score, int | float) and math.isfinite(score) else ""
    return f"{shortened(choice)} ({'right' if choice == row.get('label') else 'wrong'}{written})"


def _seeds(run: ReviewedRun) -> Cell:
    seeds = run.seeds
    if len(seeds) == 1:
        return float(seeds[0])
    return f"{seeds[0]} to {seeds[-1]}" if seeds else None


def _cell(config: Mapping[str, Any], key: str) -> Cell:
    if key not in config:
        return None
    value = config[key]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e300 else shortened(value_text(value))

"""What is answered to every query in every setting: collected over batches and processes, as the rows of a file."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from iclgd.analysis.calibration import calibrated
from iclgd.analysis.observe import NO_ANSWER, Observation, best_answers
from iclgd.analysis.query_values import gather_queries
from iclgd.data.prompts import Prompts

IN_CONTEXT = "in_context"  # the setting whose row has the likenesses: it is in all of them
DIGITS = 7  # of a likeness


class Answers(NamedTuple):
    """The answers to some queries.

    Args:
        indices: of the queries, (Q,).
        scores: mean log-probability of each answer's tokens, (Q, number of answers), -infinity where a query has fewer.
        choices: the index of the best answer, ``NO_ANSWER`` if there is none, (Q,).
    """

    indices: Tensor
    scores: Tensor
    choices: Tensor


Place = tuple[int, str]  # the index of a comparison, and a setting


class CollectedAnswers:
    """The answers of all comparisons in all settings; nothing is waited for while queries are seen."""

    def __init__(self) -> None:
        self._parts: dict[Place, list[Answers]] = {}

    def add(self, comparison: int, setting: str, indices: Tensor, seen: Observation) -> None:
        """Add a batch of queries."""
        answers = Answers(indices, seen.answer_scores, seen.predictions)
        self._parts.setdefault((comparison, setting), []).append(answers)

    def gathered(self, num_processes: int) -> dict[Place, Answers]:
        """Return those of all processes, which call this together, each query once, in order, on the CPU."""
        return {place: Answers(*columns) for place, columns in gather_queries(self._parts, num_processes).items()}


class Answered(NamedTuple):
    """What a comparison, or a control, was asked and answered.

    Args:
        name: of the control; empty for the comparison itself.
        draw: the number of the draw of demonstrations, from 0.
        prompts: its queries.
        settings: answers by setting, each query once, in order.
        likenesses: measures by name, each over layers, (Q,).
        content_free: answers' scores without any content by setting, (number of answers,); none unless scores are
            calibrated.
    """

    name: str
    draw: int
    prompts: Prompts
    settings: Mapping[str, Answers]
    likenesses: Mapping[str, Tensor]
    content_free: Mapping[str, Tensor]


def prediction_rows(comparisons: Sequence[Answered]) -> Iterator[dict[str, Any]]:
    """Yield a row for each query in each setting, after each draw of demonstrations.

    A row has ``control`` (``None``: the comparison itself), ``draw`` (the number of the draw, from 0), ``query`` (its
    number among the run's), ``setting``, ``text`` (the prompt), ``label`` and ``choice`` (answers; ``None`` where no
    answer can be chosen) and ``scores``, by answer. That of the setting ``in_context`` has ``likeness``: each measure
    of how like finetuning it is, a mean over layers, with 7 digits; ``None`` if that is not finite. Where scores are
    calibrated there are ``calibrated_choice`` and ``calibrated_scores``.

    Args:
        comparisons: in their order.
    """
    for name, draw, prompts, settings, likenesses, content_free in comparisons:
        without_content = {
            setting: calibrated(settings[setting].scores, free) for setting, free in content_free.items()
        }
        columns = [zip(of.scores.tolist(), of.choices.tolist(), strict=True) for of in settings.values()]
        alike = [values.tolist() for values in likenesses.values()]
        likeness = zip(*alike, strict=True) if alike else [()] * len(prompts.labels)
        queries = zip(prompts.query_texts, prompts.labels, likeness, *columns, strict=True)
        for query, (text, label, of_likeness, *of_query) in enumerate(queries):
            texts = prompts.answer_texts_of(query)
            for setting, (scores, choice) in zip(settings, of_query, strict=True):
                row = {
                    "control": name or None,
                    "draw": draw,
                    "query": query,
                    "setting": setting,
                    "text": text,
                    "label": texts[label],
                    "choice": None if choice == NO_ANSWER else texts[choice],
                    "scores": dict(zip(texts, scores[: len(texts)], strict=True)),
                }
                if setting in without_content:
                    own = without_content[setting][query]
                    best = int(best_answers(own))
                    row["calibrated_choice"] = None if best == NO_ANSWER else texts[best]
                    row["calibrated_scores"] = dict(zip(texts, own.tolist(), strict=True))
                if setting == IN_CONTEXT and likenesses:
                    row["likeness"] = dict(zip(likenesses, map(_shortened, of_likeness), strict=True))
                yield row


def _shortened(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None

"""What is answered to every query in every setting: collected over batches and processes, as the rows of a file."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from iclgd.analysis.observe import NO_ANSWER, Observation
from iclgd.data.prompts import Prompts

Place = tuple[int, str]  # the index of a comparison, and a setting


class Answers(NamedTuple):
    """The answers to some queries.

    Args:
        indices: of the queries, (Q,).
        scores: mean log-probability of each answer's tokens, (Q, number of answers).
        choices: the index of the best answer, ``NO_ANSWER`` if there is none, (Q,).
    """

    indices: Tensor
    scores: Tensor
    choices: Tensor

    def sorted(self) -> "Answers":
        """Return them in the queries' order."""
        order = self.indices.argsort()
        return Answers(*(each[order] for each in self))


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
        mine = {place: _joined(parts) for place, parts in self._parts.items()}
        everyone = [mine] * num_processes
        if num_processes > 1:
            torch.distributed.all_gather_object(everyone, mine)
        return {place: _joined([of[place] for of in everyone]).sorted() for place in mine}


def prediction_rows(
    comparisons: Sequence[tuple[str, Prompts]], answers: dict[Place, Answers]
) -> Iterator[dict[str, Any]]:
    """Yield a row for each query in each setting.

    A row has ``control`` (``None``: the comparison itself), ``query`` (its number among the run's), ``setting``,
    ``text`` (the prompt), ``label`` and ``choice`` (answers; ``None`` where no answer can be chosen) and ``scores``, by
    answer.

    Args:
        comparisons: name and prompts of each.
        answers: see :meth:`CollectedAnswers.gathered`.
    """
    for index, (name, prompts) in enumerate(comparisons):
        texts = prompts.answer_texts
        of_settings = {setting: of for (comparison, setting), of in answers.items() if comparison == index}
        columns = [zip(of.scores.tolist(), of.choices.tolist(), strict=True) for of in of_settings.values()]
        queries = zip(prompts.query_texts, prompts.labels, *columns, strict=True)
        for query, (text, label, *of_query) in enumerate(queries):
            for setting, (scores, choice) in zip(of_settings, of_query, strict=True):
                yield {
                    "control": name or None,
                    "query": query,
                    "setting": setting,
                    "text": text,
                    "label": texts[label],
                    "choice": None if choice == NO_ANSWER else texts[choice],
                    "scores": dict(zip(texts, scores, strict=True)),
                }


def _joined(parts: Sequence[Answers]) -> Answers:
    return Answers(*(torch.cat(column).cpu() for column in zip(*parts, strict=True)))

"""What a text run's model sees of one query, in each setting, token by token; no weights are loaded for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from transformers import PreTrainedTokenizerBase as Tokenizer

from iclgd.analysis.original import ANY_LENGTH
from iclgd.checks import InputError
from iclgd.data.prompt_length import fitting_prompts
from iclgd.data.prompt_tokens import Tokens
from iclgd.data.prompts import Prompts, build_prompts, select_demonstrations
from iclgd.data.text import TextExample
from iclgd.data.text_datamodule import answer_at
from iclgd.experiments import text
from iclgd.experiments.asking import note_on_overlong
from iclgd.measures import CALIBRATION, LABELS, ORDERS, TEXT_METRICS, TOKENS
from iclgd.models.loading import load_tokenizer, longest_sequence


class ShownPromptError(InputError):
    """A query that the run does not ask, or demonstrations that it does not draw."""


@dataclass(frozen=True)
class ShownToken:
    """One token.

    Args:
        id: its number.
        piece: its name in the vocabulary, where a space may be a mark of its own.
        is_special: whether it is a control token, which no text may become.
    """

    id: int
    piece: str
    is_special: bool


@dataclass(frozen=True)
class Part:
    """Tokens that stand together, and for the same thing.

    Args:
        name: ``start``, ``demonstration``, ``separator``, ``query`` or ``answer``.
        number: of the demonstration, or of the answer; ``None`` for the others.
        position: of the first token, in its sequence.
        text: what the tokens say.
        tokens: one after the other.
    """

    name: str
    number: int | None
    position: int
    text: str
    tokens: tuple[ShownToken, ...]


@dataclass(frozen=True)
class ShownPrompts:
    """Everything that the model sees of one query.

    Args:
        model: its name.
        task: its name.
        query: its number among the run's, as in ``predictions.jsonl``.
        num_queries: how many the run asks.
        label: the number of the right answer.
        notes: what the run says about its prompts.
        settings: the sequence of each setting, up to the token that measures look at. What predicts the answer is the
            query's last one.
        answers: each follows every setting's sequence, and is scored by the mean log-probability of its tokens.
        finetuning: the sequence of each step; the loss is that of all its tokens but the first.
        tokens: the positions in ``settings`` that count as ``last``, ``query``, ``demonstrations`` and the rest.
        measures: on which of these, and of ``answers``, each measure rests.
    """

    model: str
    task: str
    query: int
    num_queries: int
    label: int
    notes: tuple[str, ...]
    settings: dict[str, tuple[Part, ...]]
    answers: tuple[Part, ...]
    finetuning: tuple[tuple[Part, ...], ...]
    tokens: dict[str, dict[str, tuple[int, ...]]]
    measures: dict[str, tuple[str, ...]]


def shown_prompts(config: text.Config, query: int, draw: int = 0) -> ShownPrompts:
    """Return what a run of a config shows its model of a query.

    Args:
        config: the run's.
        query: the number of the query.
        draw: of demonstrations.

    Raises:
        ShownPromptError: if the run does not ask or draw so many.
        InputError: as :func:`iclgd.experiments.text.prepare` does, but for the weights.
    """
    task, rows, queries = text.read_task(config.task)
    if not 0 <= draw < config.demonstrations.num_draws:
        last = config.demonstrations.num_draws - 1
        raise ShownPromptError(f"--draw must be from 0 to {last}, as demonstrations.num_draws says; got {draw}")
    tokenizer = load_tokenizer(config.model)
    limit = longest_sequence(config.model) or ANY_LENGTH

    def of_draw(index: int, asked: Sequence[TextExample]) -> Prompts:
        drawn = config.demonstrations.of_draw(index)
        return build_prompts(task, tokenizer, select_demonstrations(rows, drawn, task.answers), asked, drawn, limit)

    may_leave_out = config.task.overlong == "drop"  # then all draws ask the same queries
    numbers = range(config.demonstrations.num_draws) if may_leave_out else [draw]
    kept, found = fitting_prompts(queries, [partial(of_draw, index) for index in numbers], may_leave_out)
    prompts = found[draw] if may_leave_out else found[0]
    if not 0 <= query < len(kept):
        raise ShownPromptError(f"--query must be from 0 to {len(kept) - 1}, as the run asks so many; got {query}")
    notes = prompts.notes
    if len(kept) < len(queries):
        notes = (*notes, note_on_overlong(len(queries) - len(kept), len(queries), limit))
    reader = _Reader(tokenizer, prompts)
    asked, after_start = prompts.queries[query], len(prompts.start)
    answer = answer_at(config.evaluation.place, prompts)
    zero_shot = (*reader.start(), *reader.looked_at(after_start, asked, answer))
    in_context = (*reader.context(), *reader.looked_at(len(prompts.context), asked, answer))
    answers = zip(prompts.answers_of(query), prompts.answer_texts_of(query), strict=True)
    return ShownPrompts(
        model=config.model.name,
        task=task.name,
        query=query,
        num_queries=len(kept),
        label=prompts.labels[query],
        notes=notes,
        settings={"zero_shot": zero_shot, "in_context": in_context, "finetuned": zero_shot},
        answers=tuple(Part("answer", index, 0, name, reader.pieces(own)) for index, (own, name) in enumerate(answers)),
        finetuning=tuple(reader.step(index, tokens) for index, tokens in enumerate(prompts.finetuning_examples)),
        tokens={
            "zero_shot": _counting(asked + answer, after_start, ()),
            "in_context": _counting(asked + answer, len(prompts.context), prompts.demonstration_positions),
            "finetuned": _counting(asked + answer, after_start, ()),
        },
        measures={
            name: tuple(kind for kind in TOKENS if kind in entry.tokens)
            for name, entry in TEXT_METRICS.items()
            if entry.needs in _had(config, prompts)
        },
    )


def _had(config: text.Config, prompts: Prompts) -> list[str]:
    """Return what measures can need that a run of the config has."""
    orders, calibration = [ORDERS] * (config.demonstrations.num_orders > 1), [CALIBRATION] * config.evaluation.calibrate
    return ["", *orders, *calibration, *[LABELS] * prompts.has_common_labels]


def _counting(query: Tokens, start: int, demonstrations: Sequence[int]) -> dict[str, tuple[int, ...]]:
    own = tuple(range(start, start + len(query)))
    others = tuple(place for place in range(start) if place not in set(demonstrations))
    return {"last": own[-1:], "query": own, "demonstrations": tuple(demonstrations), "start and separators": others}


class _Reader:
    """Names tokens, and what sequences are made of."""

    def __init__(self, tokenizer: Tokenizer, prompts: Prompts) -> None:
        self.tokenizer, self.prompts = tokenizer, prompts
        added = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.special = added | set(tokenizer.all_special_ids)

    def pieces(self, tokens: Tokens) -> tuple[ShownToken, ...]:
        """Return tokens with their names."""
        names = self.tokenizer.convert_ids_to_tokens(list(tokens))
        return tuple(ShownToken(index, name, index in self.special) for index, name in zip(tokens, names, strict=True))

    def part(self, name: str, number: int | None, position: int, tokens: Tokens) -> Part:
        """Return tokens that stand together."""
        decoded = self.tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert isinstance(decoded, str)
        return Part(name, number, position, decoded, self.pieces(tokens))

    def start(self) -> tuple[Part, ...]:
        """Return what every sequence begins with, if there is anything."""
        return (self.part("start", None, 0, self.prompts.start),) if self.prompts.start else ()

    def context(self) -> tuple[Part, ...]:
        """Return what stands before a query in context."""
        context, spans = self.prompts.context, self.prompts.demonstration_spans
        parts = list(self.start())
        for number, (start, stop) in enumerate(spans):
            parts.append(self.part("demonstration", number, start, context[start:stop]))
            after = spans[number + 1][0] if number + 1 < len(spans) else len(context)
            if after > stop:
                parts.append(self.part("separator", None, stop, context[stop:after]))
        return tuple(parts)

    def looked_at(self, position: int, query: Tokens, answer: Tokens) -> tuple[Part, ...]:
        """Return a query and the tokens of an answer after it, if there are any."""
        after = (self.part("answer", 0, position + len(query), answer),) if answer else ()
        return (self.part("query", None, position, query), *after)

    def step(self, number: int, tokens: Tokens) -> tuple[Part, ...]:
        """Return what one step of finetuning sees."""
        num_start = len(self.prompts.start)
        return (*self.start(), self.part("demonstration", number, num_start, tokens[num_start:]))

"""What a comparison of in-context learning with finetuning is made of, and how its controls differ."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from iclgd.data.prompt_length import fitting_prompts
from iclgd.data.prompt_tokens import encode
from iclgd.data.prompts import (
    DemonstrationsConfig,
    PromptError,
    Prompts,
    build_prompts,
    select_demonstrations,
)
from iclgd.data.seeding import named_generator
from iclgd.data.shuffled_labels import shuffle_labels
from iclgd.data.text import TextExample, TextTask, TextTaskError, load_examples, load_task
from iclgd.models.language import LanguageModel, LanguageModelError, untrained_twin
from iclgd.models.language_mesa import mesa_config

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

T = TypeVar("T")
ANY_LENGTH = sys.maxsize  # for models without a limit of their own


@dataclass(frozen=True)
class Original:
    """The comparison itself, which controls change in one thing.

    Args:
        model: that learns.
        tokenizer: the model's.
        task: of the queries.
        demonstrations: rows of the task, in their order in the context.
        queries: rows of the task.
        config: the ``demonstrations`` part of the config.
        seed: of random weights.
        other_task: a task's name or file; ``None`` without the control that needs it.
        data_dir: the folder with the tasks' data, or ``None``.
        calibrate: whether content-free queries are asked, too.
        kept: what controls need of every draw of demonstrations, made once: a model, another task's rows.
    """

    model: LanguageModel
    tokenizer: "Tokenizer"
    task: TextTask
    demonstrations: Sequence[TextExample]
    queries: Sequence[TextExample]
    config: DemonstrationsConfig
    seed: int
    other_task: str | None = None
    data_dir: str | None = None
    calibrate: bool = False
    kept: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if mesa_config(self.model.model.config) is not None:
            raise LanguageModelError(
                f"model.name={self.model.name} has mesa layers; contexts are handed to queries as keys and values of "
                "softmax attention"
            )

    def drawn_again(self, draw: int, rows: Sequence[TextExample]) -> "Original":
        """Return the same comparison with another draw of demonstrations.

        Args:
            draw: its number.
            rows: from which they are drawn.

        Raises:
            PromptError: if there are not enough rows.
        """
        config = self.config.of_draw(draw)
        demonstrations = select_demonstrations(rows, config, self.task.answers)
        return dataclasses.replace(self, demonstrations=demonstrations, config=config)

    def prompts(
        self, demonstrations: Sequence[TextExample] | None = None, shown_task: TextTask | None = None
    ) -> Prompts:
        """Return the prompts of the same queries.

        Args:
            demonstrations: to be shown; the original ones if not said.
            shown_task: theirs, if it is another.

        Raises:
            PromptError: if prompts cannot be built.
        """
        shown = self.demonstrations if demonstrations is None else demonstrations
        limit = self.model.max_length or ANY_LENGTH
        return build_prompts(
            self.task, self.tokenizer, shown, self.queries, self.config, limit, shown_task or self.task, self.calibrate
        )

    def of_fitting_queries(
        self, draws: Sequence["Original"], may_leave_out: bool
    ) -> tuple["Original", list["Original"], list[Prompts]]:
        """Return the same with those queries that fit into the prompts of every draw, and these prompts.

        Controls are asked the same ones: where queries may be left out, a control whose demonstrations are longer
        shows fewer of them.

        Args:
            draws: of demonstrations.
            may_leave_out: whether a query may be left out.

        Raises:
            OverlongQueryError: if a query does not fit that may not be left out, or if none does.
            PromptError: if prompts cannot be built.
        """
        asking = [lambda queries, draw=draw: dataclasses.replace(draw, queries=queries).prompts() for draw in draws]
        queries, prompts = fitting_prompts(self.queries, asking, may_leave_out)
        kept = [dataclasses.replace(draw, queries=queries) for draw in draws]
        if may_leave_out:
            kept = [
                dataclasses.replace(draw, config=dataclasses.replace(draw.config, overflow="drop")) for draw in kept
            ]
        return dataclasses.replace(self, queries=queries), kept, prompts

    def held_out(self, rows: Sequence[TextExample], draws: Sequence["Original"], num: int) -> Prompts:
        """Return prompts that ask training rows which are no demonstrations and no queries, to judge finetuning by.

        None is longer than the longest query, nor are its own answers: so they fit where that does. Which ones is
        random, by the seed of the demonstrations.

        Args:
            rows: the training rows.
            draws: all draws of demonstrations.
            num: how many are asked, if there are as many.

        Raises:
            PromptError: if there are none.
        """
        asked = [self.task.prompt(query) for query in self.queries]
        known = {*asked, *(self.task.prompt(example) for draw in draws for example in draw.demonstrations)}
        longest, longest_answer = map(max, zip(*self._lengths(self.queries), strict=True))
        order = torch.randperm(len(rows), generator=named_generator(self.config.seed, "held_out")).tolist()
        left = [rows[index] for index in order if self.task.prompt(rows[index]) not in known]
        chosen: list[TextExample] = []
        for start in range(0, len(left), num):  # as many as are needed: a data set may be long
            part = left[start : start + num]
            chosen += [
                row
                for row, (length, of_answer) in zip(part, self._lengths(part), strict=True)
                if length <= longest and of_answer <= longest_answer
            ]
            if len(chosen) >= num:
                break
        if not chosen:
            raise PromptError(
                f"{self.task.name}: finetune.learning_rate=search asks training rows that are no demonstrations, no "
                f"queries and no longer than these; none of the {len(rows)} is left"
            )
        asking = dataclasses.replace(draws[0], queries=chosen[:num])
        return asking.prompts(draws[0].demonstrations[:1])

    def with_random_weights(self) -> tuple[LanguageModel, Prompts]:
        """Return a model of the same shape with random weights, and the same prompts."""
        return self._once("untrained", lambda: untrained_twin(self.model, self.seed)), self.prompts()

    def with_shuffled_labels(self) -> tuple[LanguageModel, Prompts]:
        """Return the model, and prompts whose demonstrations have one another's labels."""
        generator = named_generator(self.config.seed, "shuffled_labels")
        return self.model, self.prompts(shuffle_labels(self.demonstrations, generator))

    def with_other_task(self) -> tuple[LanguageModel, Prompts]:
        """Return the model, and prompts with demonstrations of the other task.

        Raises:
            TextTaskError: if that is the same task, or it or its data cannot be read.
        """
        assert self.other_task is not None
        other, task = load_task(self.other_task), self.task
        if dataclasses.replace(other, name=task.name, version=task.version, description=task.description) == task:
            raise TextTaskError("evaluation.other_task must be another task than task.name; both have the same content")
        folder = _subfolder(self.data_dir, other.name)
        rows = self._once("other_task", lambda: load_examples(other, "train", folder))
        return self.model, self.prompts(select_demonstrations(rows, self.config, other.answers), other)

    def _lengths(self, examples: Sequence[TextExample]) -> list[tuple[int, int]]:
        """Return the number of tokens of each prompt, and of its longest own answer, 0 if it has none."""
        prompts = encode(self.tokenizer, [self.task.prompt(example) for example in examples])
        answers = [f"{self.task.delimiter}{answer}" for example in examples for answer in example.choices]
        encoded = iter(encode(self.tokenizer, answers) if answers else ())
        longest = [max((len(next(encoded)) for _ in example.choices), default=0) for example in examples]
        return list(zip(map(len, prompts), longest, strict=True))

    def _once(self, name: str, make: Callable[[], T]) -> T:
        if name not in self.kept:
            self.kept[name] = make()
        found: T = self.kept[name]
        return found


def _subfolder(data_dir: str | None, name: str) -> str | None:
    """Return a task's folder below ``data_dir``, if there is one; ``data_dir`` itself may hold another task's data."""
    folder = Path(data_dir).expanduser() / name if data_dir is not None else None
    return str(folder) if folder is not None and folder.is_dir() else None

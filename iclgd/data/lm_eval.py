"""Multiple-choice tasks of lm-evaluation-harness, as that library has them: its texts, answers, delimiters and splits.

Tasks are known by their names alone. A file of somebody's would run code: its templates, and functions beside it.
"""

import contextlib
import re
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from iclgd.checks import did_you_mean
from iclgd.data.examples import own_choices
from iclgd.data.text_task import TextExample, TextSource, TextTask, TextTaskError, surrogate_in
from iclgd.hub import connection_problem
from iclgd.messages import first_line
from iclgd.terminal import escaped
from iclgd.vendors.datasets import offline

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks import TaskManager

LM_EVAL = "lm-eval"
PROMPT = "prompt"  # the template's only field: the library fills its own in
MOST_SHOWN = 100  # characters of a text in a message
WHITE_SPACE = re.compile(r"\s*")


def load_lm_eval(name: str) -> TextTask:
    """Return a multiple-choice task of lm-evaluation-harness, with its data, which that library fetches.

    Demonstrations are drawn from the split that it takes its few-shot examples from, queries are of the one that it
    asks. Its description, which would stand before the first demonstration, is left out.

    Args:
        name: of a task, such as ``hellaswag``; not of a group.

    Raises:
        TextTaskError: without that library; for a name that it does not have, a task of another kind or one whose
            demonstrations would be its queries, data that cannot be fetched, and rows that cannot be used.
    """
    if find_spec("lm_eval") is None:
        raise TextTaskError(f"task.name={LM_EVAL}:{name} needs lm-evaluation-harness: pip install 'iclgd[lm-eval]'")
    manager = _manager()
    if name in (*manager.all_groups, *manager.all_tags):
        close = did_you_mean(name, manager.all_subtasks)
        raise TextTaskError(f"task.name={LM_EVAL}:{name} is a group of tasks; give one of them{close}")
    if name not in manager.all_subtasks:
        close = did_you_mean(name, manager.all_subtasks)
        raise TextTaskError(f"task.name={LM_EVAL}:{name}: no such task{close or '; see: lm-eval ls tasks'}")
    task = _loaded(manager, name)
    shown, asked = _splits(name, task)
    turns = _Turns(name, task)
    demonstrations = [turns.demonstration(row) for row in _numbered(f"{shown} row", task.fewshot_docs())]
    queries = [turns.query(row) for row in _numbered(f"{asked} row", task.eval_docs)]
    return _of_turns(name, demonstrations, queries)


def _manager() -> "TaskManager":
    """Return what knows all tasks that come with the library; it reads some thousand files."""
    from lm_eval.tasks import TaskManager

    return TaskManager()


def _loaded(manager: "TaskManager", name: str) -> "ConfigurableTask":
    from lm_eval.api.task import ConfigurableTask

    reason = connection_problem()
    try:
        with contextlib.nullcontext() if reason is None else offline():
            task = manager.load(name)["tasks"][name]
    except Exception as error:  # whatever a task's own code or a client of the network raises
        raise TextTaskError(f"task.name={LM_EVAL}:{name} cannot be loaded ({reason or first_line(error)})") from None
    if not isinstance(task, ConfigurableTask) or task.OUTPUT_TYPE != "multiple_choice":
        raise TextTaskError(f"task.name={LM_EVAL}:{name}: expected a task of multiple choice, got {task.OUTPUT_TYPE}")
    if task.multiple_input or task.multiple_target:
        what = "prompts to choose from" if task.multiple_input else "several right answers"
        raise TextTaskError(f"task.name={LM_EVAL}:{name} has {what}, which cannot be compared here")
    return task


def _splits(name: str, task: "ConfigurableTask") -> tuple[str, str]:
    """Return the names of the splits that are shown and asked."""
    config, few_shot = task.config, task.fewshot_cfg
    asked = config.test_split or config.validation_split
    shown = few_shot.split or config.training_split or config.validation_split or config.test_split
    if few_shot.split is None and few_shot.samples is not None:
        shown = "few-shot samples"
    if shown == asked:
        raise TextTaskError(
            f"task.name={LM_EVAL}:{name} takes examples from the split that it asks, {asked}: demonstrations would be "
            "queries"
        )
    return str(shown), str(asked)


class _Row(NamedTuple):
    position: str
    values: Mapping[str, Any]


def _numbered(position: str, rows: Iterable[Mapping[str, Any]]) -> Iterable[_Row]:
    return (_Row(f"{position} {number}", row) for number, row in enumerate(rows, start=1))


class _Turn(NamedTuple):
    """A prompt with answers, each with what stands before it, and which is right."""

    prompt: str
    answers: tuple[str, ...]
    label: int
    position: str


class _Turns:
    """Lets the library write prompts and answers."""

    def __init__(self, name: str, task: "ConfigurableTask") -> None:
        self.name, self.task = name, task

    def query(self, row: _Row) -> _Turn:
        """Return a row as it is asked."""
        config, doc = self.task.config, row.values
        with self._named(row):
            text, choices = self.task.doc_to_text(doc), self.task.doc_to_choice(doc)
            target, before = self.task.doc_to_target(doc), self.task.doc_to_prefix(doc)
        return self._turn(row, text, choices, target, before, config.target_delimiter)

    def demonstration(self, row: _Row) -> _Turn:
        """Return a row as it is shown, which a task may write in another way."""
        config, doc = self.task.fewshot_cfg, row.values
        with self._named(row):
            text = self.task.doc_to_text(doc, config.doc_to_text)
            choices = self.task.doc_to_choice(doc, config.doc_to_choice)
            target = self.task.doc_to_target(doc, config.doc_to_target)
            before = self.task.resolve_field(doc, config.gen_prefix)
        return self._turn(row, text, choices, target, before, config.target_delimiter)

    @contextlib.contextmanager
    def _named(self, row: _Row) -> Any:
        try:
            yield
        except Exception as error:  # whatever a task's own code raises
            raise self._error(row, f"the task fails there ({first_line(error)})") from None

    def _error(self, row: _Row, what: str) -> TextTaskError:
        return TextTaskError(f"{LM_EVAL}:{self.name}, {row.position}: {what}")

    def _turn(self, row: _Row, text: Any, choices: Any, target: Any, before: str | None, delimiter: str) -> _Turn:
        if not isinstance(text, str) or not isinstance(choices, list) or len(choices) < 2:
            raise self._error(
                row, f"expected a text and several answers, got {escaped(repr((text, choices)), MOST_SHOWN)}"
            )
        label = int(target) if isinstance(target, int) else choices.index(target) if target in choices else -1
        if not 0 <= label < len(choices):
            raise self._error(row, f"its right answer must be 0 to {len(choices) - 1}; got {escaped(repr(target), 40)}")
        parts = self.task.build_qa_turn(q=text, gen_prefix=before, tgt_delim=delimiter, few_delim="")
        whole = "".join(part.to_text() for part in parts)
        prompt = whole.rstrip()  # as the library does: white space before an answer belongs to the answer
        answers = tuple(f"{whole[len(prompt) :]}{delimiter}{choice}" for choice in choices)
        if not prompt:
            raise self._error(row, "the prompt is empty")
        if (problem := surrogate_in("".join((prompt, *answers)))) is not None:
            raise self._error(row, problem)
        return _Turn(prompt, answers, label, row.position)


def _of_turns(name: str, demonstrations: list[_Turn], queries: list[_Turn]) -> TextTask:
    """Return the task; if all rows have the same answers, they are the task's own."""
    turns = [*demonstrations, *queries]
    delimiters = {WHITE_SPACE.match(answer)[0] for turn in turns for answer in turn.answers}  # type: ignore[index]
    if len(delimiters) > 1:
        raise TextTaskError(f"task.name={LM_EVAL}:{name} has different white space before its answers: {delimiters}")
    (delimiter,) = delimiters or {" "}
    all_answers = {turn.answers for turn in turns}
    fixed = tuple(answer[len(delimiter) :] for answer in next(iter(all_answers))) if len(all_answers) == 1 else ()
    if len(set(fixed)) < len(fixed) or any(answer != answer.strip() for answer in fixed):
        fixed = ()  # a task's own answers are all different, and have no white space around them

    def example(turn: _Turn) -> TextExample:
        fields = {PROMPT: turn.prompt}
        if fixed:
            return TextExample(fields, turn.label)
        return own_choices(fields, turn.label, [answer[len(delimiter) :] for answer in turn.answers])

    examples = {"train": list(map(example, demonstrations)), "validation": list(map(example, queries))}
    return TextTask(
        name=f"{LM_EVAL}:{name}",
        version=1,
        description=f"{name} of lm-evaluation-harness",
        template=f"{{{PROMPT}}}",
        answers=fixed,
        source=TextSource(examples=examples),
        choices=None if fixed else "choices",
        delimiter=delimiter,
    )

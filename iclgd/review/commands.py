"""The exact commands that repeat runs, and what was asked of them in a sentence: from their configs alone."""

import shlex
from collections.abc import Callable, Mapping, Sequence

from iclgd import own_entries
from iclgd.review.gather import ReviewedRun
from iclgd.review.settings import differing, value_text
from iclgd.review.texts import counted, listed, shortened
from iclgd.runs.bases import DEFAULTS, Bases, differences
from iclgd.runs.records import Value
from iclgd.sweeps.file.parameter import to_text

MOST_COMMANDS = 12
MOST_LETTERS = 2000  # of a command
MOST_KEYS, MOST_VALUES = 5, 5  # that are said to differ


def commands_of(runs: Sequence[ReviewedRun], bases: Bases, left_out: list[str]) -> list[str]:
    """Return a command for each of the first runs, without those that another one has.

    Args:
        runs: of a section.
        bases: finds the configs that they were made from.
        left_out: gets a line if there are more.
    """
    found: dict[str, None] = {}
    for number, run in enumerate(runs):
        if len(found) == MOST_COMMANDS:
            left_out.append(f"commands: those of {counted(len(runs) - number, 'more run')} are not listed")
            break
        found.setdefault(command(run, bases))
    return list(found)


def command(run: ReviewedRun, bases: Bases) -> str:
    """Return the command that makes a run again: its config's name and what differs, else its directory."""
    base = bases.of(run.record) if run.config else None
    imports = own_entries.arguments(own_entries.recorded_paths(dict(run.environment)))
    if base is None or base.name == DEFAULTS:
        return shlex.join(["iclgd", "run", str(run.path), *imports])
    changes = [f"{key}={to_text(value)}" for key, (value, _) in differences(run.record, base).items()]
    text = shlex.join(["iclgd", "run", run.config_name, *changes, *imports])
    # A value of ten thousand letters is no command that anybody copies, nor one with characters that nobody sees.
    if len(text) > MOST_LETTERS or not text.isprintable():
        return shlex.join(["iclgd", "run", str(run.path), *imports])
    return text


def asked(runs: Sequence[ReviewedRun]) -> str:
    """Return what was asked, in sentences.

    Args:
        runs: of one section, at least one.
    """
    config = runs[0].config
    make = QUESTIONS.get(runs[0].experiment)
    question = make(config) if make is not None else f"An experiment of the kind {shortened(runs[0].experiment)}"
    differ = [key for key in differing([run.config for run in runs]) if not key.startswith("tracking.")]
    if not differ:
        return f"{question} {counted(len(runs), 'run')}."
    texts = [f"{key} ({_values(runs, key)})" for key in differ[:MOST_KEYS]]
    more = [counted(len(differ) - MOST_KEYS, "more key")] if len(differ) > MOST_KEYS else []
    return f"{question} {counted(len(runs), 'run')}, which differ in {listed([*texts, *more], MOST_KEYS + 1)}."


def _values(runs: Sequence[ReviewedRun], key: str) -> str:
    found = list(dict.fromkeys(value_text(run.config[key]) for run in runs if key in run.config))
    return listed([shortened(text, 24) for text in found], MOST_VALUES)


def _regression(config: Mapping[str, Value]) -> str:
    shape = ", ".join(f"{key}: {_of(config, f'model.num_{key}')}" for key in ("layers", "heads"))
    return (
        f"Does a transformer ({shape}, attention: {_of(config, 'model.attention')}), trained for "
        f"{_of(config, 'trainer.max_steps')} steps on {_of(config, 'task.name')} tasks of "
        f"{_of(config, 'task.num_context')} examples with {_of(config, 'task.input_dim')} inputs, learn in its context "
        "by gradient descent?"
    )


def _text(config: Mapping[str, Value]) -> str:
    untrained = " with random weights" if config.get("model.untrained") is True else ""
    number = config.get("task.num_queries")
    queries = "all queries" if number is None else f"{_of(config, 'task.num_queries')} queries"
    return (
        f"Is what the model {_of(config, 'model.name')}{untrained} learns in its context from "
        f"{_of(config, 'demonstrations.num')} demonstrations of {_of(config, 'task.name')} like finetuning on them "
        f"({_of(config, 'finetune.method')}, rate {_of(config, 'finetune.learning_rate')})? On {queries}."
    )


def _few_shot(config: Mapping[str, Value]) -> str:
    return (
        f"How does the accuracy of the model {_of(config, 'model.name')} on {_of(config, 'task.name')} change with the "
        f"number of demonstrations in its context, up to {_of(config, 'demonstrations.num')}?"
    )


def _language(config: Mapping[str, Value]) -> str:
    return (
        f"Does a language model of {_of(config, 'model.num_layers')} layers, trained for "
        f"{_of(config, 'trainer.max_steps')} steps on {_of(config, 'task.name')}, learn in its context?"
    )


def _sequences(config: Mapping[str, Value]) -> str:
    return (
        f"Does a transformer (layers: {_of(config, 'model.num_layers')}, attention: {_of(config, 'model.attention')}), "
        f"trained for {_of(config, 'trainer.max_steps')} steps on sequences of {_of(config, 'task.name')}, predict "
        "them as least squares on the steps so far does?"
    )


def _of(config: Mapping[str, Value], key: str) -> str:
    return shortened(value_text(config[key])) if key in config else "unknown"


def _functions(config: Mapping[str, Value]) -> str:
    shape = f"{_of(config, 'model.num_layers')} layers, width {_of(config, 'model.hidden_size')}"
    return (
        f"What does a transformer ({shape}), trained for {_of(config, 'trainer.max_steps')} steps on "
        f"{_of(config, 'task.name')} functions of {_of(config, 'task.input_dim')} inputs, learn in its context?"
    )


QUESTIONS: dict[str, Callable[[Mapping[str, Value]], str]] = {
    "regression": _regression,
    "text": _text,
    "few_shot": _few_shot,
    "language_modeling": _language,
    "functions": _functions,
    "sequences": _sequences,
}

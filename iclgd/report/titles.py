"""What a figure shows, in a line above it: the run's config, model, task, number of tasks or queries, and seeds.

A run's config may be of another version, or not there at all: what is not known is left out.
"""

import textwrap
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from matplotlib.figure import Figure

from iclgd.report.results import Results
from iclgd.report.style import NORMAL, letters_in

LONGEST = 40  # characters of a name that a user gave
MOST_LINES = 3
PARTED, UNBROKEN = "; ", "\u00a0"  # between parts; a space within one
NOT_OF_TASKS = ("weights", "functions")  # what these show is no mean over tasks


def with_title(figure: Figure, title: str) -> Figure:
    """Put a title above a figure, and above the note that it may have there; return the figure."""
    letters = letters_in(figure.get_figwidth(), NORMAL)
    # Parts stay whole where there is room, as textwrap breaks no line at this space.
    parts = [part.replace(" ", UNBROKEN) if len(part) < letters else part for part in title.split(PARTED)]
    lines = textwrap.wrap(PARTED.join(parts), letters, max_lines=MOST_LINES, placeholder=" ...")
    if lines:
        text = "\n".join(filter(None, [*lines, figure.get_suptitle()])).replace(UNBROKEN, " ")
        figure.suptitle(text, fontsize=NORMAL, parse_math=False)  # a name is no formula
    return figure


def of_any(results: Results, figure: str) -> str:
    """Describe a run of which nothing else is known than its name and its seed."""
    return _joined(results.name, [_seeds(results)])


def of_regression(results: Results, figure: str) -> str:
    """Describe a regression run.

    Args:
        results: of the run.
        figure: its name.

    Example:
        >>> config = {"model": {"num_layers": 2, "recurrent": True}, "task": {"name": "linear", "input_dim": 10}}
        >>> config |= {"evaluation": {"num_tasks": 10_000}, "training": {"num_seeds": 3}, "seed": 0}
        >>> of_regression(Results(name="two_layer", config=config), "learning_curve")
        'two_layer: 2 linear layers with shared weights; linear task, 10 inputs; 10,000 tasks; seeds 0 to 2'
    """
    config = results.config
    made_with = results.made_with.get(figure, {})
    num_tasks = made_with.get("num_tasks", value_of(config, "evaluation.num_tasks"))
    task = [f"{shortened(name)} task"] if (name := value_of(config, "task.name")) else []
    task += _counted(value_of(config, "task.input_dim"), "input") + _counted(
        value_of(config, "task.num_context"), "example"
    )
    tasks = [] if figure in NOT_OF_TASKS else _counted(num_tasks, "task")
    return _joined(results.name, [_layers(config), ", ".join(task), *tasks, _seeds(results)])


def of_text(results: Results, figure: str) -> str:
    """Describe a text run.

    Example:
        >>> config = {"model": {"name": "/models/gpt"}, "task": {"name": "sst2", "num_queries": 100}, "seed": 0}
        >>> config |= {"demonstrations": {"num": 32, "seed": 1}}
        >>> of_text(Results(name="sst2", config=config), "similarity")
        'sst2: model gpt; task sst2; 32 demonstrations; 100 queries; seed 0, demonstrations.seed 1'
    """
    config = results.config
    model, task = (value_of(config, f"{group}.name") for group in ("model", "task"))
    parts = [f"model {shortened(PurePath(str(model)).name)}"] if model else []
    parts += [f"task {shortened(PurePath(str(task)).stem)}"] if task else []
    parts += _counted(value_of(config, "demonstrations.num"), "demonstration")
    parts += _counted(len(results.labels) or value_of(config, "task.num_queries"), "query", "queries")
    drawn = value_of(config, "demonstrations.seed")
    for key, one in (("num_draws", "draw"), ("num_orders", "order")):
        number = value_of(config, f"demonstrations.{key}")
        parts += _counted(number, one) if number not in (None, 1) else []
    return _joined(
        results.name, [*parts, _seeds(results) + (f", demonstrations.seed {drawn}" if drawn is not None else "")]
    )


def of_language_modeling(results: Results, figure: str) -> str:
    """Describe a run that trains a language model.

    Example:
        >>> config = {"model": {"num_layers": 4, "hidden_size": 128}, "evaluation": {"num_sequences": 512}, "seed": 0}
        >>> of_language_modeling(Results(name="embedded_model", config=config), "learning_to_learn")
        'embedded_model: 4 layers of width 128; 512 sequences; seed 0'
    """
    config = results.config
    task = value_of(config, "task.name")
    parts = [*_layers_of_width(config), *[f"{shortened(task)} task"] * bool(task)]
    sequences = _counted(value_of(config, "evaluation.num_sequences"), "sequence")
    return _joined(results.name, [*parts, *sequences, _seeds(results)])


def of_functions(results: Results, figure: str) -> str:
    """Describe a run on function classes.

    Example:
        >>> config = {"model": {"num_layers": 3, "hidden_size": 64}, "evaluation": {"num_prompts": 1280}, "seed": 0}
        >>> config |= {"task": {"name": "sparse_linear", "input_dim": 20, "num_tasks": 0}}
        >>> of_functions(Results(name="sparse", config=config), "error_by_position")
        'sparse: 3 layers of width 64; sparse_linear functions, 20 inputs; 1,280 prompts; seed 0'
    """
    config = results.config
    name, pool = value_of(config, "task.name"), value_of(config, "task.num_tasks")
    functions = [f"{shortened(name)} functions"] if name else []
    functions += _counted(value_of(config, "task.input_dim"), "input")
    functions += [f"pool of {pool:,}"] if isinstance(pool, int) and pool else []
    prompts = _counted(value_of(config, "evaluation.num_prompts"), "prompt")
    return _joined(results.name, [*_layers_of_width(config), ", ".join(functions), *prompts, _seeds(results)])


def of_sequences(results: Results, figure: str) -> str:
    """Describe a run on sequences.

    Example:
        >>> config = {"model": {"num_layers": 2, "attention": "mesa"}, "task": {"name": "linear_system", "length": 50}}
        >>> config |= {"evaluation": {"num_sequences": 1024}, "seed": 0}
        >>> of_sequences(Results(name="mesa", config=config), "learning_curve")
        'mesa: 2 mesa layers; linear system task, 50 steps; 1,024 sequences; seed 0'
    """
    config = results.config
    made_with = results.made_with.get(figure, {})
    number = made_with.get("num_sequences", value_of(config, "evaluation.num_sequences"))
    name = value_of(config, "task.name")
    task = [f"{shortened(name).replace('_', ' ')} task"] if name else []
    task += _counted(value_of(config, "task.length"), "step")
    layers = _layers(config)
    if first := value_of(config, "model.first_attention"):
        layers += f", the first {shortened(first)}"
    return _joined(results.name, [layers, ", ".join(task), *_counted(number, "sequence"), _seeds(results)])


def value_of(config: Mapping[str, Any], key: str) -> Any:
    """Return what a config has under a dotted key; ``None`` if it has nothing there."""
    found: Any = config
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def shortened(name: object) -> str:
    """Return a user's name, printable, and no longer than a title can bear.

    Example:
        >>> shortened("a\\tname"), len(shortened("x" * 100))
        ('a name', 40)
    """
    text = "".join(letter if letter.isprintable() else " " for letter in str(name)[: 2 * LONGEST])
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _joined(name: str, parts: list[str]) -> str:
    text = PARTED.join(filter(None, parts))
    return ": ".join(filter(None, [shortened(name), text]))


def _counted(number: Any, one: str, many: str = "") -> list[str]:
    return [f"{number:,} {one if number == 1 else many or one + 's'}"] if isinstance(number, int) and number else []


def _layers_of_width(config: Mapping[str, Any]) -> list[str]:
    width = value_of(config, "model.hidden_size")
    return [f"{text} of width {width}" for text in _counted(value_of(config, "model.num_layers"), "layer")]


def _layers(config: Mapping[str, Any]) -> str:
    """Return what the transformer is made of."""
    number, kind = value_of(config, "model.num_layers"), value_of(config, "model.attention") or "linear"
    if not isinstance(number, int):
        return ""
    text = f"{number} {shortened(kind)} layer{'s' * (number > 1)}"
    text += " with shared weights" * bool(number > 1 and value_of(config, "model.recurrent"))
    heads = value_of(config, "model.num_heads")
    return text + (f" of {heads} heads" if isinstance(heads, int) and heads > 1 else "")


def _seeds(results: Results) -> str:
    first, number = value_of(results.config, "seed"), value_of(results.config, "training.num_seeds")
    if not isinstance(first, int):
        return ""
    return f"seeds {first} to {first + number - 1}" if isinstance(number, int) and number > 1 else f"seed {first}"

"""The pages of reference, made from the code itself: commands, keys, choices, names of numbers, Python."""

import inspect
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import iclgd
from iclgd import config, config_help
from iclgd.analysis.learners import LEARNERS
from iclgd.catalogue import catalogue
from iclgd.commands.table import make_parser
from iclgd.experiments import EXPERIMENTS
from iclgd.measures import ALIGNMENTS, CONTROLS, ERRORS, TEXT_METRICS
from iclgd.shipped import names
from website.docstrings import plain

_OF_A_MODULE = "    options: {members: false, show_root_heading: false, show_root_toc_entry: false}"  # its docstring
PACKAGES = ("analysis", "data", "metrics", "models")  # whose public names have a page of their own


@dataclass(frozen=True)
class GeneratedPage:
    """A page that is made from the code.

    Args:
        title: in the navigation.
        text: makes its Markdown.
    """

    title: str
    text: Callable[[], str]


def pages() -> dict[str, GeneratedPage]:
    """Return the pages by their paths in the site, in the order of the navigation."""
    keys = {
        f"reference/keys/{name}.md": GeneratedPage(f"Keys of {name}", partial(keys_of, name)) for name in EXPERIMENTS
    }
    python = {
        f"reference/python/{name}.md": GeneratedPage(f"iclgd.{name}", partial(python_of, name)) for name in PACKAGES
    }
    return {
        "reference/commands.md": GeneratedPage("Commands", commands),
        "reference/choices.md": GeneratedPage("Choices", choices),
        **keys,
        "reference/summary.md": GeneratedPage("Names of numbers", summary_names),
        "reference/python/iclgd.md": GeneratedPage("iclgd", partial(python_of, "")),
        **python,
    }


def commands() -> str:
    """Return every command's own help."""
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"  # argparse asks for the width of the terminal
    try:
        parser, _ = make_parser()
        helps = {"iclgd": parser.format_help()} | {
            f"iclgd {name}": command.format_help() for name, command in sorted(_parsers().items())
        }
    finally:
        os.environ.pop("COLUMNS") if columns is None else os.environ.update(COLUMNS=columns)
    return "\n\n".join(
        ["# Commands", "What `--help` prints.", *(f"## {name}\n\n```text\n{text}```" for name, text in helps.items())]
    )


def _parsers() -> dict[str, Any]:
    _, parsers = make_parser()
    assert isinstance(parsers, dict)
    return parsers


def choices() -> str:
    """Return everything that can be chosen, as ``iclgd list`` prints it."""
    sections = [
        _section(kind, ["name", ""], ([f"`{name}`", said] for name, said in named.items()))
        for kind, named in catalogue().items()
    ]
    return "\n\n".join(["# Choices", "What `iclgd list` prints.", *sections])


def keys_of(experiment: str) -> str:
    """Return all keys of an experiment's configs that ship, with a table for each group."""
    found: dict[str, dict[str, config_help.Key]] = {}
    where: dict[str, list[str]] = {}
    of_experiment = [
        (name, path)
        for name, path in names("config").items()
        if config.load(path, may_lack=True).experiment == experiment
    ]
    for name, path in of_experiment:
        for group in config_help.groups(path):
            for key in group.keys:
                found.setdefault(group.sentence, {}).setdefault(key.name, key)
                where.setdefault(key.name, []).append(name)
    sections = []
    for sentence, keys in found.items():
        rows = (
            [f"`{key.name}`", key.kind, _code(key.default), f"{key.sentence}{_facts(key, where, of_experiment)}"]
            for key in keys.values()
        )
        sections.append(_section(sentence, ["key", "type", "default", ""], rows))
    intro = (
        f"{EXPERIMENTS[experiment].description[0].upper()}{EXPERIMENTS[experiment].description[1:]}. "
        f"`iclgd run CONFIG --help` prints the same of one config, with its own values: "
        f"{', '.join(f'`{name}`' for name, _ in of_experiment)}."
    )
    return "\n\n".join([f"# Keys of {experiment}", intro, *sections])


def _facts(key: config_help.Key, where: dict[str, list[str]], of_experiment: list[tuple[str, Any]]) -> str:
    facts = f" ({'of' if key.kind == config_help.LIST else 'one of'}: {_codes(key.choices)})" if key.choices else ""
    only = where[key.name]
    return facts if len(only) == len(of_experiment) else f"{facts}. In: {_codes(only)}"


def summary_names() -> str:
    """Return what the numbers of ``summary.json`` are called, from the registries that make them."""
    text = (
        [f"`{name}`", _sentence(entry.metric(1)), f"{entry.within[0]:g} to {entry.within[1]:g}", entry.needs]
        for name, entry in TEXT_METRICS.items()
    )
    controls = ([f"`{name}/NAME`", entry.description] for name, entry in CONTROLS.items())
    learners = ([f"`NAME/{name}`", entry.description] for name, entry in LEARNERS.items() if _has_numbers(entry))
    errors = ([f"`{name}/LEARNER`", _sentence(entry.metric())] for name, entry in ERRORS.items())
    alignments = (
        [f"`alignment/{name}`, `alignment/{name}_REFERENCE`", _sentence(entry.metric())]
        for name, entry in ALIGNMENTS.items()
    )
    return "\n\n".join(
        [
            "# Names of numbers",
            "One vocabulary for `summary.json`, W&B, sweeps and reports. `NAME_low` and `NAME_high` are the ends of a "
            "95 % interval, `NAME/layer_00` a layer, `NAME/seed_0` a seed, `draw_00/NAME` a draw of demonstrations.",
            _section("Text", ["name", "", "within", "needs"], text),
            _section("Controls of text", ["name", ""], controls),
            _section("Regression: errors", ["name", ""], errors),
            _section("Regression: learners that have them", ["name", ""], learners),
            _section("Regression: likeness to a reference", ["name", ""], alignments),
        ]
    )


def _has_numbers(learner: Any) -> bool:
    return learner.reference is not None or learner.baseline is not None


def python_of(package: str) -> str:
    """Return the page of a package's public names, whose docstrings mkdocstrings reads.

    Args:
        package: of ``iclgd``; empty for the names of ``iclgd`` itself.
    """
    module = getattr(iclgd, package) if package else iclgd
    entries = [f"::: {home}" for home in _homes(module)]
    return "\n\n".join([f"# {module.__name__}", f"::: {module.__name__}\n{_OF_A_MODULE}", *entries])


def _homes(module: Any) -> Iterator[str]:
    """Return where the public names of a module are defined."""
    for name in module.__all__:
        value = getattr(module, name)
        if not inspect.ismodule(value):
            home, inner = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
            yield f"{home}.{inner}" if home and inner else f"{module.__name__}.{name}"


def _section(title: str, header: list[str], rows: Iterator[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return f"## {title}\n\n" + "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def _sentence(metric: Any) -> str:
    """Return the first line of what a measure's class says of itself."""
    return plain((inspect.getdoc(metric) or "").partition("\n")[0])


def _code(text: str | None) -> str:
    return "" if text is None else f"`{text}`"


def _codes(texts: Any) -> str:
    return ", ".join(f"`{text}`" for text in texts)

"""What an experiment is to everything that runs, shows or opens one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from lightning.pytorch.loggers import Logger
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.table import Table
from torch import nn

from iclgd.report import titles
from iclgd.report.figures import Draw, titled
from iclgd.report.results import Results
from iclgd.report.tables import summary_table
from iclgd.runtime.launch import Launch, find_launch
from iclgd.runtime.trainer import DeviceConfig
from iclgd.tracking.run_directory import RunDirectory
from iclgd.tracking.wandb import TrackingConfig

Record = dict[str, Any]  # what an analysis found: plain numbers, texts, lists and dictionaries
DrawRecord = Callable[[Record, Results], Figure | None]  # None: there is nothing to show


class ExperimentConfig(Protocol):
    """What the config of every experiment has; its other groups are its own."""

    @property
    def experiment(self) -> str:
        """Return its name."""

    @property
    def seed(self) -> int:
        """Return the seed of everything random."""

    @property
    def trainer(self) -> DeviceConfig:
        """Return where to compute."""

    @property
    def tracking(self) -> TrackingConfig:
        """Return how the run is tracked."""


class Shown(Protocol):
    """What is shown of an analysis."""

    @property
    def figure(self) -> DrawRecord | None:
        """Return what draws its record, beside all else that the run has; ``None`` for no figure."""

    @property
    def table(self) -> Callable[[Record], Table] | None:
        """Return what makes its table; ``None`` for none."""


class ChosenGroup(NamedTuple):
    """A group of a config whose class a name in it chooses."""

    default: str
    choices: Mapping[str, Any]  # classes by name; one that is added later is there too


C = TypeVar("C", bound=ExperimentConfig)  # the config
P = TypeVar("P")  # what is prepared from it: data, models


@dataclass(frozen=True)
class RunContext(Generic[C]):
    """One process's part of a run; made once, when it is known where the run goes.

    Args:
        config: what to run.
        launch: which of the run's processes this is, and how they were started.
        directory: where results go; ``None`` on all processes but the first.
        loggers: where metrics go.
        checkpoint: from which to go on.
    """

    config: C
    launch: Launch
    directory: RunDirectory | None = None
    loggers: list[Logger] = field(default_factory=list)
    checkpoint: Path | None = None

    @classmethod
    def alone(cls, config: C) -> "RunContext[C]":
        """Return a run's context without files, as benchmarks need it.

        Raises:
            LaunchError: if the processes that were started are not those of the config.
        """
        return cls(config, find_launch(config.trainer.devices, config.trainer.num_nodes))


def _no_names(config: Any) -> list[str]:
    return []


def _no_analysis(name: str, config: Any, directory: RunDirectory) -> Record:
    raise KeyError(name)


def _no_models(config: Any, directory: RunDirectory) -> dict[str, nn.Module]:
    return {}


def _no_values(config: Any, directory: RunDirectory) -> dict[str, NDArray[Any]]:
    return {}


@dataclass(frozen=True)
class Experiment(Generic[C, P]):
    """An experiment: what it reads, prepares, does and shows.

    Args:
        config: the dataclass of its config, whose groups are the dataclasses above the classes that they configure.
        prepare: loads and builds. Here bad input ends, with an ``InputError`` of one line: nothing is written then.
        execute: does the work on every process, and returns the summary; the first process's is written.
        needs_memory: which keys to reduce where memory is not enough.
        chosen_groups: the groups of the config whose class a name in them chooses.
        may_be_undefined: how the names of numbers begin that are NaN by a stated rule.
        figures: what can be drawn of a run, by file name; each may find that there is nothing to show.
        title: says in a line above each figure, from the results and the figure's name, what it shows.
        table: of a run's headline numbers, from its summary and a title.
        analyses: what can be looked at once the numbers stand, by name.
        chosen_analyses: which of them a config asks for.
        analyze: makes one, by its name, from the weights in a complete run's directory.
        models: what a complete run has trained, by name, with its weights.
        per_task: numbers of a complete run's summary that are means over tasks, task by task, for paired comparisons.
    """

    config: type[C]
    prepare: Callable[[C], P]
    execute: Callable[[RunContext[C], P], dict[str, float]]
    needs_memory: str
    chosen_groups: Mapping[str, ChosenGroup] = field(default_factory=dict)
    may_be_undefined: tuple[str, ...] = ()
    figures: Mapping[str, Draw] = field(default_factory=dict)
    title: Callable[[Results, str], str] = titles.of_any
    table: Callable[[dict[str, float], str], Table] = summary_table
    analyses: Mapping[str, Shown] = field(default_factory=dict)
    chosen_analyses: Callable[[C], list[str]] = _no_names
    analyze: Callable[[str, C, RunDirectory], Record] = _no_analysis
    models: Callable[[C, RunDirectory], dict[str, nn.Module]] = _no_models
    per_task: Callable[[C, RunDirectory], dict[str, NDArray[Any]]] = _no_values

    def drawings(self) -> dict[str, Draw]:
        """Return everything that can be drawn of a run, by file name: its own figures, then its analyses'."""
        of_analyses = {name: each.figure for name, each in self.analyses.items() if each.figure is not None}
        drawings = {**self.figures, **{name: _of_record(name, draw) for name, draw in of_analyses.items()}}
        return {name: titled(name, draw, self.title) for name, draw in drawings.items()}


def _of_record(name: str, draw: DrawRecord) -> Draw:
    def drawing(results: Results) -> Figure | None:
        return draw(results.analyses[name], results) if name in results.analyses else None

    return drawing


@dataclass(frozen=True)
class ExperimentEntry:
    """An experiment by its name.

    Args:
        description: one line.
        load: returns it; called when it is chosen, as each needs libraries that the others do not.
    """

    description: str
    load: Callable[[], Experiment[Any, Any]]

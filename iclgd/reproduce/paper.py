"""A paper as data: plans of sweeps, and the figures and tables with what they claim.

A paper is a folder ``NAME/`` with ``NAME.yaml``, which :func:`read` reads, and for each plan a folder of sweep files,
``NAME/PLAN/SWEEP.yaml``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from iclgd import yaml_files
from iclgd.checks import InputError, did_you_mean
from iclgd.files import FileError
from iclgd.shipped import find
from iclgd.typed_values import kinds_of, read_group
from iclgd.yaml_files import YamlError

T = TypeVar("T")
TAKES = ("last", "farthest")
SIGNS = {"above": ">", "below": "<", "at_least": "≥", "at_most": "≤"}  # of bounds


class PaperError(InputError):
    """A paper's file that cannot be used; the message is one line, which names it."""


@dataclass(frozen=True)
class Claim:
    """What a figure or table shows: a quantity of runs, and the bounds within which it is as the paper says.

    The quantity is ``value``, or its ratio to ``over``, or its difference to ``minus``; all of one seed or draw.

    Raises:
        ValueError: without a bound, or if the quantity is not one.
    """

    name: str
    """Short, such as ``same_loss``; no other claim of the paper has it."""
    says: str
    """The claim, as a sentence."""
    sweep: str
    """Which sweep's runs it is held against."""
    value: str
    """Name of a number of the summary; with ``analysis``, of one of its learners."""
    over: str | None = None
    """Divide by this one of the same seed or draw."""
    minus: str | None = None
    """Subtract this one of the same seed or draw."""
    analysis: str | None = None
    """Take the numbers from this analysis of the runs: of each learner a list over seeds of lists over points."""
    inside: list[str] = field(default_factory=list)
    """Keys of the analysis's record, one in the other, below which the learners are."""
    take: str = "last"
    """Which point of the analysis counts: the last, or the one whose ratio (of ``over``) is farthest from 1."""
    where: list[str] = field(default_factory=list)
    """``KEY=VALUE`` of the sweep's keys: of which of its runs; all, if it is not said."""
    than: list[str] = field(default_factory=list)
    """Subtract the same quantity of those runs, seed by seed."""
    tuned: str | None = None
    """A key of the sweep of which each side takes its best value ..."""
    tuned_by: str | None = None
    """... that with the least mean of this number."""
    above: float | None = None
    """Bound: the quantity is larger."""
    below: float | None = None
    """Bound: the quantity is smaller."""
    at_least: float | None = None
    """Bound: the quantity is as large, or larger."""
    at_most: float | None = None
    """Bound: the quantity is as small, or smaller."""
    axis: str = ""
    """What the quantity is called where it is drawn; claims with the same axis are drawn together."""
    printed: str | None = None
    """What the paper, or its implementation, has: a number, or a range such as ``0.109 - 0.113``."""
    source: str = ""
    """Where that stands."""
    not_quick: str | None = None
    """Why the quick plan cannot show it, where it cannot."""

    def __post_init__(self) -> None:
        if not self.bounds:
            raise ValueError(f"claim {self.name}: needs a bound: above, below, at_least or at_most")
        if any(math.isnan(bound) for bound in self.bounds.values()):
            raise ValueError(f"claim {self.name}: a bound must be a number, got nan")
        if self.over is not None and self.minus is not None:
            raise ValueError(f"claim {self.name}: over and minus must not both be given")
        if self.take not in TAKES:
            hint = did_you_mean(self.take, TAKES)
            raise ValueError(f"claim {self.name}: take must be one of: {', '.join(TAKES)}; got {self.take!r}{hint}")
        if self.take == "farthest" and self.over is None:
            raise ValueError(f"claim {self.name}: take=farthest is of a ratio, and needs over")
        if self.analysis is not None and self.minus is not None:
            raise ValueError(f"claim {self.name}: numbers of an analysis have no minus; give over")
        if (self.tuned is None) != (self.tuned_by is None):
            raise ValueError(f"claim {self.name}: tuned and tuned_by go together")

    @property
    def bounds(self) -> dict[str, float]:
        """Return the bounds that there are, by their names."""
        given = {name: getattr(self, name) for name in SIGNS}
        return {name: bound for name, bound in given.items() if bound is not None}

    @property
    def bounds_text(self) -> str:
        """Return the bounds in words.

        Example:
            >>> Claim("same", "It is the same.", "runs", "loss", at_least=0.95, at_most=1.05).bounds_text
            'at least 0.95 and at most 1.05'
        """
        return " and ".join(f"{name.replace('_', ' ')} {bound:g}" for name, bound in self.bounds.items())

    @property
    def bounds_signs(self) -> str:
        """Return the bounds in signs.

        Example:
            >>> Claim("same", "It is the same.", "runs", "loss", at_least=0.95, at_most=1.05).bounds_signs
            '≥ 0.95, ≤ 1.05'
        """
        return ", ".join(f"{SIGNS[name]} {bound:g}" for name, bound in self.bounds.items())

    @property
    def printed_numbers(self) -> list[float]:
        """Return what is printed as numbers: one, or the ends of a range; none if there is none.

        Example:
            >>> Claim("a", "A.", "runs", "loss", at_most=1, printed="0.109 - 0.113").printed_numbers
            [0.109, 0.113]
        """
        try:
            return [float(text) for text in (self.printed or "").split(" - ") if text]
        except ValueError:
            return []

    @property
    def quantity(self) -> str:
        """Return the quantity in words.

        Example:
            >>> Claim("same", "It is the same.", "runs", "loss/transformer", over="loss/gd", at_most=1).quantity
            'loss/transformer / loss/gd'
        """
        text = self.value
        if self.over is not None:
            text = f"{text} / {self.over}"
        if self.minus is not None:
            text = f"{text} - {self.minus}"
        if self.analysis is not None:
            text = f"{text}, {self.take} point of {'/'.join([self.analysis, *self.inside])}"
        if self.where:
            text = f"{text}, {' '.join(self.where)}"
        return f"{text}, less that of {' '.join(self.than)}" if self.than else text


@dataclass(frozen=True)
class Figure:
    """A figure or a table of the paper."""

    number: str
    """As the paper counts, such as ``Figure 2``."""
    title: str
    """What it shows."""
    claims: list[Claim]
    """What it claims, at least one thing."""
    charts: list[str] = field(default_factory=list)
    """Which figures of the runs the page draws; all, if it is not said."""


@dataclass(frozen=True)
class PlannedSweep:
    """A sweep of a plan, and how long one of its runs takes."""

    name: str
    """Of the sweep file in the plan's folder."""
    cpu_minutes: float
    """Of one run on one CPU core."""
    gpu_minutes: float
    """Of one run on one GPU."""
    file: str | None = None
    """Name of a sweep that ships (``iclgd list``), instead of one in the plan's folder."""


@dataclass(frozen=True)
class Plan:
    """What is run: the sweeps in one of the paper's folders."""

    name: str
    """Of the folder."""
    says: str
    """What it is, in a sentence."""
    sweeps: list[PlannedSweep]
    """In the order in which they run."""
    quick: bool = False
    """Whether ``--quick`` asks for it."""
    given: str | None = None
    """A key: the plan is that of commands which give it a value, such as ``model.name``."""
    cannot_show: list[str] = field(default_factory=list)
    """What it cannot show, a sentence each."""


@dataclass(frozen=True)
class Paper:
    """A paper."""

    title: str
    """Of the paper."""
    reference: str
    """Authors, year, and where to find it."""
    plans: list[Plan]
    """What can be run."""
    figures: list[Figure]
    """Figures and tables, in the paper's order."""
    folder: Path = field(default=Path(), metadata={"is_read": False})
    """Where it was read from."""

    @property
    def name(self) -> str:
        """Return what the paper is called on the command line."""
        return self.folder.name

    @property
    def claims(self) -> list[Claim]:
        """Return the claims of all figures."""
        return [claim for figure in self.figures for claim in figure.claims]

    def plan(self, is_quick: bool, overrides: Sequence[str]) -> Plan:
        """Return the plan of a command.

        Args:
            is_quick: whether it has ``--quick``.
            overrides: its ``KEY=VALUE``.

        Raises:
            PaperError: if the paper has none such.
        """
        keys = {override.partition("=")[0] for override in overrides}
        fitting = [plan for plan in self.plans if plan.quick is is_quick and (plan.given is None or plan.given in keys)]
        if not fitting:
            raise PaperError(f"{self.name}: has no {'quick' if is_quick else 'full'} plan")
        return max(fitting, key=lambda plan: plan.given is not None)

    def sweep_file(self, plan: Plan, sweep: PlannedSweep) -> Path:
        """Return the sweep file of a plan's sweep."""
        if sweep.file is not None:
            return find("sweep", sweep.file)
        return self.folder / plan.name / f"{sweep.name}.yaml"


def read(path: Path) -> Paper:
    """Read a paper.

    Args:
        path: its YAML file.

    Raises:
        FileError: if it is not there.
        PaperError: for anything that is missing, unknown or of another kind.
    """
    try:
        _, node = yaml_files.read(path)
        kinds = {each.name: kinds_of(Paper)[each.name] for each in fields(Paper) if each.metadata.get("is_read", True)}
        values = {} if node is None else read_group("", Paper, kinds, node)
        paper = _built("", Paper, {**values, "folder": path.absolute().parent})
        _check(paper)
    except FileError:
        raise
    except (InputError, YamlError, ValueError) as error:
        raise PaperError(f"{path}: {error}") from None
    return paper


def _built(prefix: str, kind: type[T], values: Mapping[str, Any]) -> T:
    """Return a dataclass made of what was read, groups and lists of groups included."""
    made: dict[str, Any] = {}
    kinds: Mapping[str, Any] = kinds_of(kind)  # type: ignore[arg-type]
    for each in fields(kind):  # type: ignore[arg-type]
        if each.name not in values:
            if each.default is MISSING and each.default_factory is MISSING:
                raise PaperError(f"{prefix}{each.name}: is missing")
            continue
        made[each.name] = _value(f"{prefix}{each.name}", kinds[each.name], values[each.name])
    return kind(**made)


def _value(key: str, kind: Any, value: Any) -> Any:
    if get_origin(kind) is list and any(isinstance(item, dict) for item in value):
        (inner,) = get_args(kind)
        return [_built(f"{key}[{index}].", inner, item) for index, item in enumerate(value)]
    return value


def _check(paper: Paper) -> None:
    names = [claim.name for claim in paper.claims]
    for name in names:
        if names.count(name) > 1:
            raise PaperError(f"two claims are called {name}")
    for figure in paper.figures:
        if not figure.claims:
            raise PaperError(f"{figure.number}: claims must have at least one")
    sweeps = {sweep.name for plan in paper.plans for sweep in plan.sweeps}
    for claim in paper.claims:
        if claim.sweep not in sweeps:
            hint = did_you_mean(claim.sweep, sweeps)
            raise PaperError(f"claim {claim.name}: no plan has a sweep {claim.sweep!r}{hint}")
    for plan in paper.plans:
        for sweep in plan.sweeps:
            if not (path := paper.sweep_file(plan, sweep)).is_file():
                raise PaperError(f"plan {plan.name}: sweep {sweep.name}: no such file: {path}")
            if not all(minutes > 0 and math.isfinite(minutes) for minutes in (sweep.cpu_minutes, sweep.gpu_minutes)):
                raise PaperError(f"plan {plan.name}: sweep {sweep.name}: minutes must be positive numbers")

"""Run a paper's plan, sweep by sweep, and judge its claims by what the sweeps' folders hold."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from iclgd import __version__
from iclgd.files import write_atomically
from iclgd.reproduce.paper import Figure, Paper, Plan
from iclgd.reproduce.plan import Options, SweepToRun
from iclgd.reproduce.verdicts import Evidence, Verdict, judge
from iclgd.review.gather import gather
from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.progress.reading import read_sweep
from iclgd.sweeps.start import run_to_its_end
from iclgd.terminal import say

VERDICTS = "verdicts.json"


@dataclass(frozen=True)
class Reproduction:
    """What came of a paper's plan.

    Attributes:
        paper: which.
        plan: of the paper.
        options: how it was run.
        evidence: of each sweep, by its name.
    """

    paper: Paper
    plan: Plan
    options: Options
    evidence: Mapping[str, Evidence]

    @property
    def has_failed(self) -> bool:
        """Say whether any run of the plan is not done."""
        return any(
            each.problem is not None or any(row.state != "done" for row in each.rows) for each in self.evidence.values()
        )

    def verdicts(self, figure: Figure) -> list[Verdict]:
        """Return the verdicts of a figure's claims."""
        return [self._verdicts[claim.name] for claim in figure.claims]

    @cached_property
    def _verdicts(self) -> dict[str, Verdict]:
        return {claim.name: judge(claim, self.plan, self.evidence.get(claim.sweep)) for claim in self.paper.claims}

    def as_json(self) -> dict[str, Any]:
        """Return all verdicts with what decides them, as plain values."""
        return {
            "paper": self.paper.name,
            "title": self.paper.title,
            "reference": self.paper.reference,
            "plan": self.plan.name,
            "overrides": list(self.options.overrides),
            "version": __version__,
            "cannot_show": list(self.plan.cannot_show),
            "figures": [
                {
                    "number": figure.number,
                    "title": figure.title,
                    "claims": [verdict.as_json() for verdict in self.verdicts(figure)],
                }
                for figure in self.paper.figures
            ],
        }


def run_all(sweeps: Sequence[SweepToRun]) -> dict[str, str]:
    """Run sweeps to their ends, one after the other; those that are over already are over at once.

    Returns:
        what went wrong, by the sweep's name.

    Raises:
        KeyboardInterrupt: on Ctrl-C.
    """
    problems: dict[str, str] = {}
    for number, sweep in enumerate(sweeps, start=1):
        say(f"sweep {number} of {len(sweeps)}: {sweep.name}, {len(sweep.points)} runs, in {sweep.folder}")
        try:
            _, _, problem = run_to_its_end(sweep.arguments)
        except (SweepError, OSError) as error:  # the others' runs are worth having all the same
            problem = str(error)
        if problem is not None:
            say(f"sweep {sweep.name}: {problem}")
            problems[sweep.name] = problem
    return problems


def evidence_of(sweep: SweepToRun, problem: str | None = None) -> Evidence:
    """Return what is in a sweep's folder.

    Args:
        sweep: which.
        problem: with which it ended, which counts if there is nothing.
    """
    try:
        results = read_sweep(sweep.folder)
    except SweepError as error:
        return Evidence(problem=problem or str(error))
    runs = [run for found in gather([sweep.folder]).sweeps for run in found.runs]
    return Evidence(results.rows, runs)


def write_verdicts(reproduction: Reproduction, folder: Path) -> Path:
    """Write ``verdicts.json``, whole or not at all, and return its path."""
    path = folder / VERDICTS
    content = json.dumps(reproduction.as_json(), indent=2, allow_nan=False) + "\n"
    with write_atomically(path) as file:
        file.write(content.encode())
    return path

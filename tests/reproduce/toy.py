"""A paper of one figure, and sweeps' folders of it with written run directories."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iclgd.reproduce.verdicts import Evidence
from iclgd.review.gather import gather
from iclgd.sweeps.progress.settings import Row
from tests.review.factory import make_run

PAPER = """\
# A toy
title: A toy
reference: Nobody 2026
plans:
  - name: full
    says: All of it.
    sweeps:
      - {name: runs, cpu_minutes: 90, gpu_minutes: 0.5}
  - name: quick
    quick: true
    says: Little.
    sweeps:
      - {name: runs, cpu_minutes: 1, gpu_minutes: 1}
    cannot_show: [Much.]
figures:
  - number: Figure 1
    title: A layer
    claims:
      - name: same_loss
        says: A layer is GD.
        sweep: runs
        value: loss/transformer
        over: loss/gd
        at_least: 0.95
        at_most: 1.05
        axis: ratio
        printed: "1.0026"
        source: somewhere
      - name: alike
        says: It is alike.
        sweep: runs
        value: alignment/sensitivity_cosine
        at_least: 0.98
"""
SWEEP = """\
method: grid
command: ["${env}", iclgd, run, CONFIG, "${args_no_hyphens}"]
parameters:
  seed: {values: [0, 1, 2]}
"""


def write_paper(folder: Path, text: str = PAPER, config: str = "one_layer") -> Path:
    """Write a paper and its sweep ``runs``; return the paper's file."""
    paper = folder / "toy" / "toy.yaml"
    for plan in ("full", "quick"):
        (paper.parent / plan).mkdir(parents=True, exist_ok=True)
        (paper.parent / plan / "runs.yaml").write_text(SWEEP.replace("CONFIG", config))
    paper.write_text(text)
    return paper


def evidence(
    folder: Path,
    numbers: Sequence[Mapping[str, float | None]],
    *,
    config: str = "one_layer",
    values: Sequence[Mapping[str, Any]] = (),
    analyses: Sequence[Mapping[str, Any]] = (),
) -> Evidence:
    """Return a sweep that is done, a run for each of some numbers of summaries.

    Args:
        folder: where the runs are written.
        numbers: of each run's summary, beside plausible ones.
        config: that all have run.
        values: of the swept keys of each; seeds, if none are given.
        analyses: of each run.
    """
    rows = []
    for place, summary in enumerate(numbers):
        swept = values[place] if values else {"seed": place}
        path = make_run(
            folder,
            config,
            f"abc-{place:04}",
            changes=swept,
            summary=summary,
            analyses=analyses[place] if analyses else None,
        )
        rows.append(Row(place, swept, 1.0, "done", path))
    return Evidence(rows, list(gather([folder]).runs))

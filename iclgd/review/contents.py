"""The contents of a review, from run directories alone: sections of verdicts, tables and charts, as plain data."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from iclgd import __version__
from iclgd.report.settings import SEEDS
from iclgd.review.document import Review, Section
from iclgd.review.gather import ReviewedRun, gather
from iclgd.review.sections import capped, section_of
from iclgd.review.sweep_sections import sweep_section
from iclgd.review.text_accuracies import of_trained_models, with_text_accuracies
from iclgd.review.texts import shortened
from iclgd.runs.bases import Bases

TITLE = "Is in-context learning gradient descent?"


def make_review(paths: Sequence[Path], title: str | None = None, over: Sequence[str] = SEEDS) -> Review:
    """Return a review of all runs and sweeps below some folders; nothing in these is changed.

    What is broken is left out, with a line that says what and why; a review of no runs says so.

    Args:
        paths: run directories, sweeps' folders, or any folders of them.
        title: of the whole.
        over: keys of configs that are repetitions, as :func:`iclgd.report.settings.by_setting` takes them.

    Raises:
        ReviewError: if there is no such folder.

    Example:
        >>> review = make_review([Path("tests/reference/runs")])
        >>> [(section.title, section.verdicts[0].answer) for section in review.sections]
        [('debug', 'cannot say'), ('embedded', 'cannot say'), ('seeds', 'cannot say')]
    """
    found = gather(paths)
    bases = Bases()
    left_out = capped(found.left_out, "folders")
    sections: list[Section] = []
    texts = of_trained_models([*found.runs, *(run for sweep in found.sweeps for run in sweep.runs)])
    groups = _by_config(found.runs, left_out)
    while groups:  # what a section has read is let go of with it
        sections.append(section_of(with_text_accuracies(groups.pop(0), texts), bases, over))
    for sweep in found.sweeps:
        runs = with_text_accuracies(sweep.runs, texts)
        section = sweep_section(replace(sweep, runs=runs), bases, over)
        if isinstance(section, str):
            left_out.append(section)
        else:
            sections.append(section)
    bases.save()
    if not sections:
        left_out.append(f"there is no run directory in or below {', '.join(map(str, paths)) or 'no folder'}")
    return Review(
        title=shortened(title, 200) if title else TITLE,
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        version=__version__,
        sections=sections,
        left_out=left_out,
        sources=[str(path) for path in paths],
    )


def _by_config(runs: Sequence[ReviewedRun], left_out: list[str]) -> list[list[ReviewedRun]]:
    """Return the runs with the same config name and experiment together; those without an experiment are left out."""
    groups: dict[tuple[str, str], list[ReviewedRun]] = {}
    nameless = []
    for run in runs:
        if run.experiment:
            groups.setdefault((run.config_name, run.experiment), []).append(run)
        else:
            nameless.append(f"{run.path}: {run.state} ({run.record.problem or 'its config names no experiment'})")
    left_out += capped(nameless, "runs cannot be read")
    return list(groups.values())

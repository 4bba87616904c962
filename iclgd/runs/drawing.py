"""The figures of a run, drawn again from its directory."""

from collections.abc import Sequence
from pathlib import Path

from iclgd.failures import Failures
from iclgd.report.figures import FORMATS, draw_figures
from iclgd.runs.names import UnknownNameError, check_names
from iclgd.runs.opening import open_directory
from iclgd.runs.recorded import recorded_experiment
from iclgd.tracking.run_copy import forget_arrival


def redraw(path: Path, names: Sequence[str] = (), formats: Sequence[str] = ("png",)) -> tuple[list[Path], list[str]]:
    """Draw a run's figures again into its ``figures/``; of one that is not complete, what there is to show.

    Args:
        path: the run directory.
        names: which figures; all that the run has something for if none is named.
        formats: of the files: png, svg, pdf.

    Returns:
        The files, and what failed.

    Raises:
        RunDirectoryError: if it is no run directory.
        UnknownNameError: for an unknown figure or format, or one for which the run has nothing to show.
    """
    directory = open_directory(path)
    figures = recorded_experiment(directory).drawings()
    check_names("figure", names, figures)
    check_names("format", formats, FORMATS)
    failures = Failures(directory.path / "failures.log")
    forget_arrival(directory)
    chosen = {name: figures[name] for name in names or figures}
    drawn = draw_figures(directory, directory.read_summary() or {}, chosen, failures, formats)
    there = {file.stem for file in drawn}
    failed = {part.removeprefix("figure ") for part in failures.failed}
    if missing := [name for name in names if name not in there | failed]:
        raise UnknownNameError(f"{path}: the run has nothing to show as {', '.join(missing)}")
    return drawn, failures.failed

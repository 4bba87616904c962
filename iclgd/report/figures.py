"""Every figure of one run, from its directory alone."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from iclgd.failures import Failures
from iclgd.report.results import Results
from iclgd.tracking.run_directory import RunDirectory

DOTS_PER_INCH = 130
Draw = Callable[[Results], Figure | None]  # None: the run has nothing to show there


def draw_figures(
    directory: RunDirectory, summary: dict[str, float], figures: Mapping[str, Draw], failures: Failures | None = None
) -> list[Path]:
    """Draw the figures that a run has data for into its ``figures/``; return their paths.

    The folder is made once all have been drawn. A figure that fails is named, and costs nothing else.

    Args:
        directory: a run.
        summary: the run's final numbers.
        figures: what can be drawn of it, by file name.
        failures: collects what fails.
    """
    failures = failures or Failures(directory.path / "failures.log")
    images: dict[str, bytes] = {}
    with failures.of("reading the run for its figures"):
        results = Results.read(directory, summary)
        for name, draw in figures.items():
            with failures.of(f"figure {name}"), np.errstate(all="ignore"):  # a diverged run has figures, with gaps
                if (figure := draw(results)) is not None:
                    images[name] = _as_png(figure)
    paths = []
    with failures.of("the figures' folder"):
        directory.figures.mkdir(exist_ok=True)
    for name, image in images.items():
        with failures.of(f"figure {name}"):
            directory.write_bytes(f"figures/{name}.png", image)
            paths.append(directory.figures / f"{name}.png")
    return paths


def _as_png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.set_dpi(DOTS_PER_INCH)
    FigureCanvasAgg(figure).print_png(file)  # type: ignore[no-untyped-call]
    return file.getvalue()

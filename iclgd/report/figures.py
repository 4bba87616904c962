"""Every figure of one run, from its directory alone."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from iclgd.failures import Failures
from iclgd.report.results import Results
from iclgd.report.style import SMALL, STYLE
from iclgd.report.titles import with_title
from iclgd.tracking.run_directory import RunDirectory

DOTS_PER_INCH = 220  # 1500 across the page
FORMATS: dict[str, dict[str, None]] = {  # what would differ from one drawing to the next is left out
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
Draw = Callable[[Results], Figure | None]  # None: the run has nothing to show there
F = TypeVar("F", bound=Figure | None)


def draw_figures(
    directory: RunDirectory,
    summary: dict[str, float],
    figures: Mapping[str, Draw],
    failures: Failures | None = None,
    formats: Sequence[str] = ("png",),
) -> list[Path]:
    """Draw the figures that a run has data for into its ``figures/``; return their paths.

    The folder is made once all have been drawn. A figure that fails is named, and costs nothing else.

    Args:
        directory: a run.
        summary: the run's final numbers.
        figures: what can be drawn of it, by file name.
        failures: collects what fails.
        formats: of the files, each in ``FORMATS``.
    """
    failures = failures or Failures(directory.path / "failures.log")
    images: dict[str, bytes] = {}
    with failures.of("reading the run for its figures"):
        results = Results.read(directory, summary)
        for name, drawing in figures.items():
            with failures.of(f"figure {name}"):
                if (figure := draw(drawing, results)) is not None:
                    images |= {f"{name}.{ending}": image(figure, ending) for ending in formats}
    paths = []
    with failures.of("the figures' folder"):
        directory.figures.mkdir(exist_ok=True)
    for file, content in images.items():
        with failures.of(f"figure {Path(file).stem}"):
            directory.write_bytes(f"figures/{file}", content)
            paths.append(directory.figures / file)
    return paths


def draw(drawing: Draw, results: Results) -> Figure | None:
    """Return a figure that shows itself in a notebook; ``None`` if there is nothing to show."""
    figure = styled(lambda: drawing(results))
    if figure is not None:
        for axes in figure.axes:  # of ticks, which are made late: whoever saves the figure has another style
            axes.tick_params(which="both", labelsize=SMALL)
        # to a notebook matplotlib shows figures of pyplot's alone
        figure._repr_png_ = lambda: image(figure, "png")  # type: ignore[attr-defined]
    return figure


def styled(drawing: Callable[[], F]) -> F:
    """Return what is drawn in the style of all figures."""
    with mpl.rc_context(STYLE), np.errstate(all="ignore"):  # a diverged run has figures, with gaps
        return drawing()


def titled(name: str, drawing: Draw, title: Callable[[Results, str], str]) -> Draw:
    """Return what draws a figure with a line above it that says what it shows.

    Args:
        name: of the figure.
        drawing: draws it without.
        title: describes a run and what a figure shows of it.
    """

    def draw_with_title(results: Results) -> Figure | None:
        figure = drawing(results)
        return figure if figure is None else with_title(figure, title(results, name))

    return draw_with_title


def image(figure: Figure, ending: str) -> bytes:
    """Return the content of a figure's file.

    Args:
        figure: that ``draw`` has drawn.
        ending: of ``FORMATS``.
    """
    file = io.BytesIO()
    figure.set_dpi(DOTS_PER_INCH)
    with mpl.rc_context(STYLE), np.errstate(all="ignore"):
        if ending == "png":
            FigureCanvasAgg(figure).print_png(file)  # type: ignore[no-untyped-call]
        else:
            figure.savefig(file, format=ending, metadata=FORMATS[ending])
    return file.getvalue()

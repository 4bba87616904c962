"""A run, opened again from its directory: what a notebook has of it."""

import html
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from iclgd.config import ExperimentConfig
from iclgd.runs.names import Named, UnknownNameError, check_names
from iclgd.runs.opening import open_directory, recorded_values
from iclgd.runs.recorded import recorded_config, recorded_experiment
from iclgd.tracking.predictions import read_predictions
from iclgd.tracking.run_directory import WEIGHTS, RunDirectoryError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import nn

NUM_IN_LINE, NUM_IN_TABLE = 2, 16  # headline numbers that a run shows of itself
PARTS = ("/layer_", "/seed_")  # of names that are no headlines
OF_DRAWS = "draw_"  # begins the names of single draws of demonstrations
INTERVALS = ("_low", "_high")


class History(NamedTuple):
    """A number over the optimiser steps of a run.

    Attributes:
        steps: shape ``(P,)``.
        values: shape ``(P,)``, of a run of several seeds ``(S, P)``.
    """

    steps: "NDArray[Any]"
    values: "NDArray[Any]"


class Run:
    """What a run directory holds; every part is read when it is asked for, and nothing is changed.

    Parts that are damaged are told in a line on standard error, and left out. Of a run that is not complete there is
    what it has got to.

    Args:
        path: the run directory.

    Raises:
        RunDirectoryError: if it is not one.
    """

    def __init__(self, path: str | Path) -> None:
        self._directory = open_directory(Path(path).expanduser())

    @property
    def path(self) -> Path:
        """Return the run directory."""
        return self._directory.path

    @cached_property
    def config(self) -> ExperimentConfig:
        """Return the resolved config: the dataclass with which the run was made, such as ``config.model.num_layers``.

        Of a run on GPUs that this machine has not, ``config.trainer.accelerator`` is ``auto``.
        """
        return recorded_config(self._directory)

    @cached_property
    def config_dict(self) -> dict[str, Any]:
        """Return the config as it is written in the directory: nested dictionaries of plain values."""
        return recorded_values(self._directory)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Return versions, source commit, machine and processes."""
        return self._directory.read_environment() or {}

    @cached_property
    def summary(self) -> dict[str, float]:
        """Return the final numbers by their summary names; none of a run that is not complete."""
        summary = self._directory.read_summary()
        hint = f"the run is not complete; continue it with: iclgd resume {self.path}" if summary is None else ""
        return Named("number of the summary", summary or {}, hint)

    @property
    def is_complete(self) -> bool:
        """Return whether the run has come to its end."""
        return bool(self.summary)

    @cached_property
    def metrics(self) -> dict[str, History]:
        """Return what was measured on the way by name, each with ``steps`` and ``values``.

        Of a run of several seeds ``values`` has a row for each, in their order.
        """
        from iclgd.report.results import OF_A_SEED, Results

        results = Results(self._directory.read_metrics())
        names = {OF_A_SEED.sub("", name): None for record in results.metrics for name in record if name != "step"}
        histories = {}
        for name in names:
            curve = results.curve(name)
            assert curve is not None
            histories[name] = History(curve.x, curve.values[0] if len(curve.values) == 1 else curve.values)
        return Named("metric", histories)

    @cached_property
    def models(self) -> "dict[str, nn.Module]":
        """Return the trained models and what they were compared with, on the CPU, in evaluation mode.

        - Regression: ``transformer``, and its references, such as ``gd`` and ``gd_plus_plus``; each is called as
          ``model(x, y, query)`` with shapes ``(B, N, D)``, ``(B, N, O)``, ``(B, D)`` and returns the predictions,
          ``(B, O)``. Of several seeds ``transformer/seed_S`` and so on, named as in ``summary``.
        - Language modelling: ``model``, a Hugging Face one.
        - Text: none, as such a run keeps no weights.

        Raises:
            RunDirectoryError: if the weights are missing, damaged or not of this config.
        """
        models = recorded_experiment(self._directory).models(self.config, self._directory)
        hint = "" if models else "such a run keeps no weights"
        return Named("model", {name: model.eval().requires_grad_(False) for name, model in models.items()}, hint)

    @cached_property
    def predictions(self) -> list[dict[str, Any]]:
        """Return the answers of a text run, a row for each query in each setting; of other runs there are none.

        A row has ``control`` (``None`` for the comparison itself), ``draw`` (of the demonstrations, from 0), ``query``,
        ``setting``, ``text``, ``label``, ``choice`` and ``scores``, the mean log-probability of each answer's tokens;
        where ``setting`` is ``in_context`` also ``likeness``, measures by name as means over layers. Older runs have
        neither ``draw`` nor ``likeness``.
        """
        return read_predictions(self._directory)

    @cached_property
    def analysis(self) -> dict[str, dict[str, Any]]:
        """Return what analyses have found, by their names; ``made_with`` in each says with which values."""
        return Named("analysis", self._directory.read_analyses(), f"make one with: iclgd analyze {self.path} NAME")

    def figure(self, name: str) -> "Figure":
        """Draw a figure, which shows itself in a notebook.

        Args:
            name: as of the files in ``figures/``, such as ``learning_curve``.

        Raises:
            UnknownNameError: if there is no such figure, or the run has nothing to show there.
            RunDirectoryError: if the run's weights cannot be read.
        """
        from safetensors import SafetensorError

        from iclgd.report.figures import draw
        from iclgd.report.results import Results

        figures = recorded_experiment(self._directory).drawings()
        check_names("figure", [name], figures)
        try:
            figure = draw(figures[name], Results.read(self._directory, self.summary))
        except SafetensorError as error:
            raise RunDirectoryError(f"{self.path / WEIGHTS}: cannot be read ({error})") from None
        if figure is None:
            raise UnknownNameError(f"{self.path}: the run has nothing for the figure {name!r}")
        return figure

    @property
    def _title(self) -> str:
        return f"{self.path.parent.name}/{self.path.name}"

    @property
    def _kind(self) -> str:
        return f"{self.config_dict.get('experiment')}, {'complete' if self.is_complete else 'not complete'}"

    @property
    def _headlines(self) -> dict[str, str]:
        whole = [name for name in self.summary if not (name.startswith(OF_DRAWS) or any(p in name for p in PARTS))]
        return {name: f"{self.summary[name]:.6g}" for name in whole if not name.endswith(INTERVALS)}

    def __repr__(self) -> str:
        shown = "".join(f", {name}={value}" for name, value in list(self._headlines.items())[:NUM_IN_LINE])
        return f"<Run {self._title}: {self._kind}{shown}>"

    def _repr_html_(self) -> str:
        headlines = list(self._headlines.items())
        cells = [f"<tr><td>{html.escape(name)}</td><td>{value}</td></tr>" for name, value in headlines[:NUM_IN_TABLE]]
        left_out = len(headlines) - len(cells)
        more = f"<p>and {left_out} more in <code>summary</code></p>" if left_out > 0 else ""
        title = f"<b>{html.escape(self._title)}</b> {html.escape(self._kind)}"
        return f"<div><p>{title}</p><table>{''.join(cells)}</table>{more}</div>"


def load_run(path: str | Path) -> Run:
    """Open a run again, of this version or an older one.

    Args:
        path: the run directory, which ``iclgd run`` prints last.

    Raises:
        RunDirectoryError: if it is not one.

    Example:
        >>> import iclgd, torch
        >>> run = iclgd.load_run("tests/reference/runs/debug/20261125-000000-e4bb99")
        >>> run.metrics["loss/transformer"].steps
        array([ 0, 20, 40])
        >>> run.models["transformer"](torch.randn(5, 8, 3), torch.randn(5, 8, 1), torch.randn(5, 3)).shape
        torch.Size([5, 1])
    """
    return Run(path)

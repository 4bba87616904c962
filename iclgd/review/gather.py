"""The runs that a review is made of, found below folders: small files are read at once, the others when asked for."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from iclgd.checks import InputError
from iclgd.report.results import Array, Results
from iclgd.runs.records import RunRecord, State, Value, find_records
from iclgd.tracking.predictions import read_predictions
from iclgd.tracking.run_copy import arrivals
from iclgd.tracking.run_directory import MADE_WITH, MOST_BYTES, PREDICTIONS, WEIGHTS, RunDirectory


class ReviewError(InputError):
    """A path of which no review can be made."""


WITH_DRAWS = ("text", "few_shot")  # experiments on draws of demonstrations


@dataclass(frozen=True)
class ReviewedRun:
    """A run as a review needs it; nothing in its directory is changed, and what is damaged raises nothing.

    Attributes:
        record: what its small files say.
        problems: a line for each part that could not be read, as far as parts have been asked for.
    """

    record: RunRecord
    problems: list[str] = field(default_factory=list, compare=False)

    @property
    def path(self) -> Path:
        """Return the run directory."""
        return self.record.path

    @property
    def name(self) -> str:
        """Return the run directory's own name, which is W&B's id of the run."""
        return self.record.path.name

    @property
    def config_name(self) -> str:
        """Return what the config is called."""
        return self.record.config_name

    @property
    def experiment(self) -> str:
        """Return the kind of experiment, such as ``regression`` or ``text``."""
        return self.record.experiment

    @property
    def has_draws(self) -> bool:
        """Say whether its repetitions are draws of demonstrations, in which the seed has no part."""
        return self.record.experiment in WITH_DRAWS

    @property
    def state(self) -> State:
        """Return the state, such as ``complete``."""
        return self.record.state

    @property
    def is_complete(self) -> bool:
        """Say whether there are final numbers."""
        return self.record.state == "complete"

    @property
    def config(self) -> Mapping[str, Value]:
        """Return the resolved config by its full keys, lists as tuples."""
        return self.record.config

    @property
    def summary(self) -> Mapping[str, float]:
        """Return the final numbers; none of a run that is not complete."""
        return self.record.summary

    @property
    def environment(self) -> Mapping[str, Any]:
        """Return versions, commit, machine."""
        return self.record.environment

    @property
    def version(self) -> str:
        """Return the version of the program that made it; empty if nobody knows."""
        return self.record.version

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds that the run has trained, one after the other."""
        first, number = self.config.get("seed", 0), self.config.get("training.num_seeds", 1)
        if type(first) is not int or type(number) is not int:
            return ()
        return tuple(range(first, first + max(1, min(number, 1000))))

    @cached_property
    def metrics(self) -> list[dict[str, float]]:
        """Return what was measured on the way, a record for each step."""
        directory = self._directory()
        return directory.read_metrics(self.problems.append) if directory is not None else []

    @cached_property
    def analyses(self) -> dict[str, dict[str, Any]]:
        """Return what analyses have found, by their names."""
        return {
            name: {key: value for key, value in record.items() if key != MADE_WITH}
            for name, record in self._records.items()
        }

    @cached_property
    def made_with(self) -> dict[str, dict[str, Any]]:
        """Return with which values of the config analyses were made, by their names."""
        found = {name: record.get(MADE_WITH) for name, record in self._records.items()}
        return {name: values for name, values in found.items() if isinstance(values, dict)}

    @cached_property
    def _records(self) -> dict[str, dict[str, Any]]:
        directory = self._directory()
        return directory.read_analyses(self.problems.append) if directory is not None else {}

    @cached_property
    def weights(self) -> dict[str, Array]:
        """Return the weights by ``MODEL.PARAMETER``, of several seeds ``seed_S/MODEL.PARAMETER``; none if damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = self.path / WEIGHTS
        try:
            if not path.is_file():
                return {}
            if path.stat().st_size > MOST_BYTES:
                raise ValueError("too large to be shown")
            return load_file(path)
        except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:  # KeyError: numpy has no bfloat16
            self.problems.append(f"{path}: cannot be read ({error})")
        return {}

    @cached_property
    def predictions(self) -> list[dict[str, Any]]:
        """Return the answers of a text run, a row for each query in each setting."""
        directory = self._directory()
        if directory is None or not (self.path / PREDICTIONS).exists():
            return []
        return read_predictions(directory, self.problems.append)

    @cached_property
    def wandb_run(self) -> str | None:
        """Return ``entity/project/run_id`` if all of it is at W&B, at ``$WANDB_BASE_URL`` if that is set."""
        server = os.environ.get("WANDB_BASE_URL", "").rstrip("/")
        for arrival in arrivals(self.path):
            parts = arrival.rsplit("/", 3)
            if len(parts) == 4 and all(parts) and server in ("", parts[0].rstrip("/")):
                return "/".join(parts[1:])
        return None

    def results(self, with_weights: bool = False) -> Results:
        """Return the same as figures of one run take it.

        Args:
            with_weights: read these too.
        """
        weights = self.weights if with_weights else {}
        return Results(self.metrics, dict(self.summary), weights, self.analyses, _nested(self.config))

    def _directory(self) -> RunDirectory | None:
        try:
            return RunDirectory(self.path)
        except InputError as error:  # it has gone since
            self.problems.append(str(error))
        return None


@dataclass(frozen=True)
class ReviewedSweep:
    """A sweep: its folder, and the runs of its trials.

    Attributes:
        path: the folder.
        runs: of its trials, as far as they have begun.
    """

    path: Path
    runs: Sequence[ReviewedRun]


@dataclass(frozen=True)
class Gathered:
    """All that is below some folders.

    Attributes:
        runs: that belong to no sweep.
        sweeps: with their runs.
        left_out: a line for each folder that could not be read, with the reason.
    """

    runs: Sequence[ReviewedRun]
    sweeps: Sequence[ReviewedSweep]
    left_out: Sequence[str] = ()


def gather(paths: Sequence[Path]) -> Gathered:
    """Find runs and sweeps.

    Args:
        paths: run directories, sweeps' folders, or any folders of them.

    Raises:
        ReviewError: if there is no such folder.
    """
    for path in paths:
        if not path.is_dir():
            raise ReviewError(f"{path}: {'expected a folder' if path.exists() else 'no such folder'}")
    records, left_out = find_records(paths)
    alone: list[ReviewedRun] = []
    sweeps: dict[Path, list[ReviewedRun]] = {folder: [] for path in paths for folder in _sweeps_below(path)}
    for record in records:
        run = ReviewedRun(record)
        folder = record.sweep
        # Of a sweep that is not below the paths a run alone was asked for.
        (alone if folder is None else sweeps.get(folder, alone)).append(run)
    return Gathered(alone, [ReviewedSweep(path, runs) for path, runs in sweeps.items()], left_out)


def _sweeps_below(path: Path) -> Iterator[Path]:
    """Yield the folders of sweeps, also of those that no trial has begun."""
    for folder, names, files in os.walk(path.absolute()):
        if "options.json" in files and ("runs" in names or "sweep.yaml" in files):
            yield Path(folder)
            names.clear()
        elif "config.yaml" in files:
            names.clear()
        else:
            names[:] = sorted(name for name in names if not name.startswith("."))


def _nested(flat: Mapping[str, Value]) -> dict[str, Any]:
    """Return a config with its groups.

    Example:
        >>> _nested({"seed": 0, "model.num_layers": 1})
        {'seed': 0, 'model': {'num_layers': 1}}
    """
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *groups, last = key.split(".")
        inner = nested
        for group in groups:
            inner = inner.setdefault(group, {})
            if not isinstance(inner, dict):  # a key that is both a value and a group
                break
        else:
            inner[last] = list(value) if isinstance(value, tuple) else value
    return nested

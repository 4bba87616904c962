"""Lightning's view of the run directory."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from iclgd.tracking.mirror import Mirror
from iclgd.tracking.run_directory import RunDirectory


class RunDirectoryLogger(Logger):
    """Writes logged metrics to ``metrics.jsonl``.

    Args:
        directory: the run's.
        mirror: that copies it; it reads the metrics there.
    """

    def __init__(self, directory: RunDirectory, mirror: Mirror) -> None:
        super().__init__()
        self.directory = directory
        self.mirror = mirror

    @property
    def name(self) -> str:
        """Return the name of the config."""
        return self.directory.path.parent.name

    @property
    def version(self) -> str:
        """Return the run's timestamp and id."""
        return self.directory.path.name

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the config is in the directory from the start."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a line."""
        assert step is not None
        self.directory.append_metrics(step, dict(metrics))

"""A run directory's content as a run of W&B's: each row once, and a summary that is the directory's.

W&B's number of the row of line ``i`` of ``metrics.jsonl`` is ``2 i + 1``. Figures and tables have a row too, as W&B
shows on a run's page what rows have: the even one after the last line's, so a run that goes on collides with none.
"""

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iclgd.messages import all_lines
from iclgd.tracking.artifacts import log_model
from iclgd.tracking.page_row import page_row
from iclgd.tracking.provenance import KEY, copy_files, provenance
from iclgd.tracking.rows import GLOBAL_STEP, Axes, Rows
from iclgd.tracking.run_directory import RunDirectory
from iclgd.tracking.wandb import TrackingConfig
from iclgd.vendors.wandb import bind, log_of, put_in_summary, upload_errors

if TYPE_CHECKING:
    import wandb

MARKER = "tracked.json"  # of a run directory: the places where all of it has arrived
BYTES_TO_GO_ON = 2**20  # with less on the disk, W&B's files are not whole


def forget_arrival(directory: RunDirectory) -> None:
    """Forget where all of a run has arrived: something will be there that has not."""
    with contextlib.suppress(OSError):
        (directory.path / MARKER).unlink()


def arrivals(path: Path) -> list[str]:
    """Return where all of a run has arrived: ``SERVER/ENTITY/PROJECT/RUN_ID`` each.

    Args:
        path: of the run directory.
    """
    with contextlib.suppress(OSError, ValueError):
        marks = json.loads((path / MARKER).read_text(encoding="utf-8"))
        return [mark for mark in marks if isinstance(mark, str)] if isinstance(marks, list) else []
    return []


class RunCopy:
    """Copies a run directory to a W&B run.

    Args:
        directory: the run's.

    Raises:
        OSError, ValueError, TypeError: if its config cannot be used.
    """

    def __init__(self, directory: RunDirectory) -> None:
        from omegaconf import OmegaConf

        self.directory = directory
        values: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(directory.config_path))  # type: ignore[assignment]
        self.config = TrackingConfig(**values.get("tracking", {}))
        self.run_config = {**values, KEY: provenance(directory)}
        self._rows = Rows(directory.path / "metrics.jsonl")
        self._axes = Axes(controls_of(values))
        self._first = 0  # W&B's number of the first row that this copy sends

    def is_marked(self, target: str) -> bool:
        """Say whether all of the run has arrived at a server's entity's project."""
        return target in arrivals(self.directory.path)

    def begin(self, run: "wandb.Run", num_lines: int) -> None:
        """Copy to a run.

        Args:
            run: W&B's.
            num_lines: of ``metrics.jsonl``, which an earlier attempt has recorded.
        """
        self._run = run
        run.define_metric("*", step_metric=GLOBAL_STEP)
        # Of a run that goes on, the server knows some rows. Offline, each attempt has files with rows of its own.
        self._first = 2 * num_lines if run.offline else run.starting_step
        self._offset = 2 * num_lines if run.offline else 0

    def copy_rows(self) -> None:
        """Send the rows that are new."""
        for number, row in self._rows.new():
            for name, axis in self._axes.new_names(row):
                self._run.define_metric(name, step_metric=axis.step, hidden=axis.is_hidden)
            step = 2 * number + 1
            if step >= self._first:
                self._run.log(self._axes.with_steps(row), step=step - self._offset, commit=True)

    def finish(self, exit_code: int) -> list[str]:
        """Send what is left, and all that a complete run has if the exit code is 0; return what has not arrived."""
        import wandb

        self.copy_rows()
        problems = [f"metrics.jsonl: line {number + 1} is damaged" for number in self._rows.damaged]
        if exit_code == 0:
            numbers = self.directory.read_summary() or {}
            for send in (self._send_page, self._send_summary, self._send_files, self._send_model):
                try:
                    problems += send(numbers)
                except Exception as error:  # the others may arrive
                    problems.append(all_lines(error))
        run = self._run
        target = f"{run.settings.base_url}/{run.entity}/{run.project}/{run.id}"
        is_offline, files, log = run.offline, Path(run.dir), log_of(run)
        run.finish(exit_code)
        wandb.teardown()  # W&B writes its files to their end only now
        if is_offline:
            problems += [f"{files}: the disk is full"] if _free_bytes(files) < BYTES_TO_GO_ON else []
        else:
            problems += upload_errors(log)
        if exit_code == 0 and not is_offline and not problems:
            self.directory.write_text(
                MARKER, json.dumps(sorted({*arrivals(self.directory.path), target}), indent=2) + "\n"
            )
        return problems

    def _send_page(self, numbers: dict[str, Any]) -> list[str]:
        """Send figures, tables and charts; return what cannot be read."""
        row, problems = page_row(self.directory, numbers, controls_of(self.run_config))
        step = 2 * self._rows.count
        bind(self._run, row, step - self._offset)
        if row and step >= self._first:
            self._run.log(row, step=step - self._offset, commit=True)
        elif row:  # the row is there; whether the files are is not known
            put_in_summary(self._run, row)
        return problems

    def _send_summary(self, numbers: dict[str, Any]) -> list[str]:
        """Send the final numbers, after all rows: W&B takes the last one's for final, too."""
        numbers = {**self._rows.last, **numbers}
        # Of a summary W&B's client leaves NaN out; its server knows it by its name.
        self._run.summary.update({name: "NaN" if value != value else value for name, value in numbers.items()})
        return []

    def _send_files(self, _: dict[str, Any]) -> list[str]:
        """Send the records of what the run ran on, which know its processes by now."""
        environment = {KEY: provenance(self.directory)}
        self._run.config.update(environment, allow_val_change=True)  # type: ignore[no-untyped-call]
        for path in copy_files(self.directory, Path(self._run.dir)):
            self._run.save(path, base_path=self._run.dir, policy="now", glob=False)
        return []

    def _send_model(self, numbers: dict[str, Any]) -> list[str]:
        return log_model(self._run, self.directory, self.run_config, numbers) if self.config.log_model else []


def controls_of(config: dict[str, Any]) -> list[str]:
    """Return the names of a text run's controls, below which theirs have the comparison's names."""
    evaluation = config.get("evaluation")
    controls = evaluation.get("controls") if isinstance(evaluation, dict) else None
    return [name for name in controls if isinstance(name, str)] if isinstance(controls, list) else []


def _free_bytes(path: Path) -> int:
    import shutil

    return shutil.disk_usage(path).free

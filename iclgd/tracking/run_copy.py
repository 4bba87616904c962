"""A run directory's content as a run of W&B's: each row once, and a summary that is the directory's."""

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iclgd.messages import all_lines
from iclgd.tracking.rows import Rows
from iclgd.tracking.run_directory import RunDirectory
from iclgd.tracking.wandb import TrackingConfig
from iclgd.vendors.wandb import log_of, put_in_summary, upload_errors

if TYPE_CHECKING:
    import wandb

MARKER = "tracked.json"  # of a run directory: the places where all of it has arrived
BYTES_TO_GO_ON = 2**20  # with less on the disk, W&B's files are not whole


def forget_arrival(directory: RunDirectory) -> None:
    """Forget where all of a run has arrived: something will be there that has not."""
    with contextlib.suppress(OSError):
        (directory.path / MARKER).unlink()


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
        self.run_config: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(directory.config_path))  # type: ignore[assignment]
        self.config = TrackingConfig(**self.run_config.get("tracking", {}))
        self._rows = Rows(directory.path / "metrics.jsonl")
        self._first = 0  # row that this copy sends

    def is_marked(self, target: str) -> bool:
        """Say whether all of the run has arrived at a server's entity's project."""
        return target in self._marks()

    def begin(self, run: "wandb.Run", num_lines: int) -> None:
        """Copy to a run.

        Args:
            run: W&B's.
            num_lines: of ``metrics.jsonl``, which an earlier attempt has recorded.
        """
        self._run = run
        # Of a run that goes on, the server knows some rows. Offline, each attempt has files with rows of its own.
        self._first = num_lines if run.offline else run.starting_step
        self._offset = num_lines if run.offline else 0

    def copy_rows(self) -> None:
        """Send the rows that are new."""
        for number, row in self._rows.new():
            if number >= self._first:
                self._run.log(row, step=number - self._offset, commit=True)

    def finish(self, exit_code: int) -> list[str]:
        """Send what is left, the final numbers and figures too if the exit code is 0; return what has not arrived."""
        import wandb

        self.copy_rows()
        problems = [f"metrics.jsonl: line {number + 1} is damaged" for number in self._rows.damaged]
        if exit_code == 0:
            problems += self._send_figures()
            numbers = {**self._rows.last, **(self.directory.read_summary() or {})}
            # Of a summary W&B's client leaves NaN out; its server knows it by its name.
            self._run.summary.update({name: "NaN" if value != value else value for name, value in numbers.items()})
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
            self.directory.write_text(MARKER, json.dumps(sorted({*self._marks(), target}), indent=2) + "\n")
        return problems

    def _send_figures(self) -> list[str]:
        """Send the figures, as a row after all others; return those that cannot be read."""
        import wandb

        images, problems = {}, []
        for path in sorted(self.directory.figures.glob("*.png")):
            try:
                images[f"figures/{path.stem}"] = wandb.Image(str(path))
            except Exception as error:
                problems.append(f"{path}: {all_lines(error)}")
        number = self._rows.count
        if images and number >= self._first:
            self._run.log(images, step=number - self._offset, commit=True)
        elif images:  # the row is there; whether the files are is not known
            put_in_summary(self._run, images, number)
        return problems

    def _marks(self) -> list[str]:
        with contextlib.suppress(OSError, ValueError):
            marks = json.loads((self.directory.path / MARKER).read_text(encoding="utf-8"))
            return [mark for mark in marks if isinstance(mark, str)] if isinstance(marks, list) else []
        return []


def _free_bytes(path: Path) -> int:
    import shutil

    return shutil.disk_usage(path).free

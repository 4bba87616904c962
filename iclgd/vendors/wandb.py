"""Beneath W&B's public surface: what its log says of uploads, settings that may change, an image's way into a summary.

Nothing here imports W&B before it is used: :mod:`iclgd.tracking.client` alone may, in a process of its own.
"""

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import wandb

# Of W&B's log: parts that bring numbers and files to the server. W&B ends without an error if they could not.
OF_UPLOADS = ("filestream: ", "runfiles: ", "file transfer: ", "fileTransfer", "runupserter: ", "sender: ")


def do_without_pandas() -> None:
    """Keep W&B, before it is imported, from importing pandas only to see that a figure is no table."""
    sys.modules["pandas"] = None  # type: ignore[assignment]


def experimental_settings(measures_machine: bool, seconds_between_writes: float) -> dict[str, Any]:
    """Return keywords for W&B's settings whose names begin with ``x_``: they may change.

    Args:
        measures_machine: whether W&B describes the machine, and measures it from time to time.
        seconds_between_writes: what W&B's files lack when a run is killed; W&B's own default is 15.
    """
    return {
        "x_disable_stats": not measures_machine,
        "x_disable_meta": not measures_machine,
        "x_transaction_log_flush_interval": seconds_between_writes,
    }


def log_of(run: "wandb.Run") -> Path:
    """Return where W&B's own process writes its log of a run."""
    return Path(run.settings.log_internal)


def upload_errors(log: Path) -> list[str]:
    """Return the first thing that W&B's process has failed to bring to the server, as its own log tells."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    errors = []
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            entry = json.loads(line)
            message = str(entry["msg"])
            if str(entry["level"]).startswith("ERROR") and message.startswith(OF_UPLOADS):
                errors.append(message)
    return errors[:1]


def put_in_summary(run: "wandb.Run", images: "dict[str, wandb.Image]", step: int) -> None:
    """Show images in a run's summary that are in no row of it: their files go to where those of a row would."""
    for key, image in images.items():
        image.bind_to_run(run, key, step)
    run.summary.update(images)

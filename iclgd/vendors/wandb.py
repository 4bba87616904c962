"""Beneath W&B's public surface (of 0.31): what its log and its agents say, settings that may change, and the like.

Nothing here imports W&B before it is used: :mod:`iclgd.tracking.client` alone may, in a process of its own.
"""

import contextlib
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import wandb

# Of W&B's log: parts that bring numbers and files to the server. W&B ends without an error if they could not.
OF_UPLOADS = ("filestream: ", "runfiles: ", "file transfer: ", "fileTransfer", "runupserter: ", "sender: ")

CANNOT_PAUSE = "Cannot pause "  # `wandb sweep --pause` of one that is over, in its last line
OF_THE_AGENT = re.compile(r"[-\d]+ [:,\d]+ - wandb\.wandb_agent - [A-Z]+ - (.*)")
EVENTS = {"About to run command: ": "begins", "Cleaning up finished run: ": "ends", "Stop: ": "ends early"}
# Else three quick failures end an agent; five first ones still do.
WITHOUT_FLAPPING = {"WANDB_AGENT_DISABLE_FLAPPING": "true"}


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


def bind(run: "wandb.Run", row: dict[str, Any], step: int) -> None:
    """Write the files of a row's tables and images to where W&B's files of the run are.

    W&B would else make an artifact of each table, whose files wait below the user's home for an upload.

    Args:
        run: W&B's.
        row: its values by name.
        step: the row's number.
    """
    for key, table_or_image in _media(row).items():
        table_or_image.bind_to_run(run, key, step)


def put_in_summary(run: "wandb.Run", row: dict[str, Any]) -> None:
    """Show the tables and images of a row in a run's summary alone; they must have their files."""
    run.summary.update(_media(row))


def _media(row: dict[str, Any]) -> dict[str, Any]:
    """Return tables and images by the names that W&B knows them by; a chart's table has one of its own."""
    from wandb.plot.custom_chart import CustomChart

    media = {}
    for key, value in row.items():
        if isinstance(value, CustomChart):
            value.set_key(key)
            media[value.spec.table_key] = value.table
        else:
            media[key] = value
    return media


def said_by_agent(line: str) -> tuple[str, str] | None:
    """Return what has happened to a trial, and the id of its run, as a line of an agent's log tells.

    Args:
        line: of the log, to which the trials write as well.

    Returns:
        ``"begins"`` (with the trial's command), ``"ends"``, ``"ends early"`` (the server has stopped it) or ``""`` for
        anything else that agents say; ``None`` if the line is a trial's.

    Example:
        >>> said_by_agent("2026-01-31 12:00:00,123 - wandb.wandb_agent - INFO - Cleaning up finished run: 1a2b3c4d")
        ('ends', '1a2b3c4d')
    """
    if (said := OF_THE_AGENT.fullmatch(line)) is None:
        return None
    for words, event in EVENTS.items():
        if said[1].startswith(words):
            return event, said[1].removeprefix(words)
    return "", said[1]

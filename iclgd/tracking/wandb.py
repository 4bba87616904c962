"""Whether and how a run is tracked with W&B. Its client is in a process of its own, so nothing here imports it."""

import os
from dataclasses import dataclass, field

from iclgd import checks
from iclgd.checks import InputError
from iclgd.tracking.client_process import ClientProcess, Message
from iclgd.tracking.run_directory import run_id_of_environment
from iclgd.tracking.server import NO_API_KEY

MODES = {
    "auto": "online if an API key is configured and the server answers, else offline",
    "online": "as auto, but refuse to start without an API key",
    "offline": "recorded in the run directory, for iclgd track",
    "disabled": "no W&B at all; iclgd track may change that",
}
SECONDS_TO_LOOK = 30.0  # to import W&B's client, read its settings and ask its server
WITHOUT_CLIENT = "broken"  # beside the modes: W&B's client cannot start


@dataclass(frozen=True)
class TrackingConfig:
    """How a run is tracked with W&B.

    Raises:
        ValueError: for an unknown mode or an empty project.
    """

    mode: str = "auto"
    """Whether the run goes to W&B, now or later."""
    project: str = "iclgd"
    """W&B's project."""
    tags: list[str] = field(default_factory=list)
    """Tags of the run."""
    group: str | None = None
    """Group of runs to which it belongs."""
    log_model: bool = False
    """Whether W&B gets the weights of a complete run, as an artifact."""

    def __post_init__(self) -> None:
        checks.one_of(MODES, "tracking", self, "mode")
        if not self.project:
            raise ValueError("tracking.project must not be empty")


class TrackingError(InputError):
    """Tracking that was asked for and cannot be had."""


def wanted_mode(config: TrackingConfig) -> str:
    """Return the mode of the config; ``WANDB_MODE`` of the environment stands in for ``auto``."""
    from_environment = os.environ.get("WANDB_MODE")
    return from_environment if config.mode == "auto" and from_environment in MODES else config.mode


def resolve_mode(config: TrackingConfig) -> tuple[str, str]:
    """Decide between online, offline and disabled; return the mode and the reason. Asks a client of its own.

    Raises:
        TrackingError: if online tracking is demanded and no API key is configured, or W&B's settings cannot be read.
        RunDirectoryError: if ``WANDB_RUN_ID`` cannot be the run's id.
    """
    wanted = wanted_mode(config)
    if wanted in ("offline", "disabled"):
        return wanted, "as configured"
    client = ClientProcess()
    try:
        return decide(wanted, look(client))
    finally:
        client.kill()


def look(client: ClientProcess, account: bool = False) -> Message:
    """Return what W&B's client knows of its server: ``url``, ``missing`` and, if asked for, ``account``.

    Raises:
        TrackingError: if the client cannot read its settings, which come from its files and the environment.
        RunDirectoryError: if ``WANDB_RUN_ID`` cannot be the run's id.
    """
    run_id_of_environment()  # the client would not say which of its settings it cannot read
    client.send(do="look", account=account, seconds=SECONDS_TO_LOOK)
    found = client.receive(2 * SECONDS_TO_LOOK)
    if "unreadable" in found:
        raise TrackingError(f"W&B's settings (WANDB_... in the environment): {found['unreadable']}")
    return found


def decide(wanted: str, found: Message) -> tuple[str, str]:
    """Return the mode, which may be ``WITHOUT_CLIENT``, and the reason.

    Args:
        wanted: ``"auto"`` or ``"online"``.
        found: as of :func:`look`.

    Raises:
        TrackingError: if online tracking is demanded and no API key is configured.
    """
    if "failed" in found:
        return WITHOUT_CLIENT, found["failed"]
    missing = found["missing"]
    if missing == NO_API_KEY and wanted == "online":
        raise TrackingError(
            "tracking.mode=online needs an API key: run 'wandb login', or set WANDB_API_KEY, or use offline"
        )
    return ("offline", missing) if missing else ("online", f"{found['url']} answers")

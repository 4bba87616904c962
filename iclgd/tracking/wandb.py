"""W&B, online when it can be and offline otherwise; a run never waits for it or fails because of it."""

import contextlib
import netrc
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from iclgd import checks
from iclgd.checks import InputError
from iclgd.tracking.run_directory import run_id_of_environment

if TYPE_CHECKING:
    from lightning.pytorch.loggers import WandbLogger

MODES = {
    "auto": "online if an API key is configured and the server answers, else offline",
    "online": "as auto, but refuse to start without an API key",
    "offline": "recorded in the run directory, for wandb sync",
    "disabled": "no W&B at all",
}
NO_API_KEY = "no API key is configured"
SECONDS_TO_ANSWER = 3.0
SECONDS_TO_START = 30.0
SECONDS_TO_FINISH = 60.0  # W&B's own default is to wait for a lost server for ever
SECONDS_BETWEEN_WRITES = 0.2  # what W&B's files lack when a run is killed; W&B's own default is 15


@dataclass(frozen=True)
class TrackingConfig:
    """How a run is tracked with W&B.

    Raises:
        ValueError: for an unknown mode or an empty project.
    """

    mode: str = "auto"
    project: str = "iclgd"
    tags: list[str] = field(default_factory=list)
    group: str | None = None

    def __post_init__(self) -> None:
        checks.one_of(MODES, "tracking", self, "mode")
        if not self.project:
            raise ValueError("tracking.project must not be empty")


class TrackingError(InputError):
    """Tracking that was asked for and cannot be had."""


def resolve_mode(config: TrackingConfig) -> tuple[str, str]:
    """Decide between online, offline and disabled; return the mode and the reason.

    ``WANDB_MODE`` of the environment stands in for ``tracking.mode=auto``.

    Raises:
        TrackingError: if online tracking is demanded and no API key is configured.
        RunDirectoryError: if ``WANDB_RUN_ID`` cannot be the run's id.
    """
    wanted = config.mode
    if wanted == "auto" and os.environ.get("WANDB_MODE") in MODES:
        wanted = os.environ["WANDB_MODE"]
    if wanted in ("offline", "disabled"):
        return wanted, "as configured"
    missing = missing_for_online()
    if missing == NO_API_KEY and wanted == "online":
        raise TrackingError(
            "tracking.mode=online needs an API key: run 'wandb login', or set WANDB_API_KEY, or use offline"
        )
    return ("offline", missing) if missing else ("online", f"{server_url()} answers")


def server_url() -> str:
    """Return the address of W&B's server.

    Raises:
        TrackingError: if W&B's client cannot read its settings, which come from its files and the environment.
        RunDirectoryError: if ``WANDB_RUN_ID`` cannot be the run's id.
    """
    import wandb

    run_id_of_environment()  # the client would not say which of its settings it cannot read
    try:
        return str(wandb.setup(wandb.Settings(silent=True)).settings.base_url)
    except (wandb.Error, ValueError) as error:
        raise TrackingError(f"W&B's settings (WANDB_... in the environment): {_one_line(error)}") from None


def missing_for_online() -> str | None:
    """Return why W&B's server cannot be used, ``None`` if it can; errors as of :func:`server_url`."""
    url = server_url()
    if not _has_api_key(url):
        return NO_API_KEY
    return None if _answers(url) else f"no answer from {url}"


@contextlib.contextmanager
def client_for_now() -> Iterator[Any]:
    """Import W&B's client, and end its service afterwards: processes started later would take it for theirs."""
    import wandb

    try:
        yield wandb
    finally:
        wandb.teardown()


def start(
    config: TrackingConfig, mode: str, reason: str, run_directory: Path, run_config: dict[str, Any]
) -> tuple["WandbLogger | None", str]:
    """Start W&B below the run directory; return Lightning's logger (``None`` if W&B fails) and a line for the user.

    With ``WANDB_SWEEP_ID``, the run belongs to that sweep and goes to the sweep's project, ``WANDB_PROJECT``.

    Args:
        config: project, tags and group; ``WANDB_RUN_GROUP`` stands in for no group, ``WANDB_TAGS`` are added.
        mode: ``"online"`` or ``"offline"``.
        reason: why, for the line.
        run_directory: the run's directory; its name is W&B's id of the run, also when the run is resumed.
        run_config: the resolved config, to be recorded.
    """
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    def make(mode: Literal["online", "offline"]) -> WandbLogger:
        # Within a sweep W&B takes these from its global settings alone, and no notice of the arguments below.
        project = os.environ.get("WANDB_SWEEP_ID") and os.environ.get("WANDB_PROJECT")
        wandb.setup(wandb.Settings(silent=True, run_id=run_directory.name, project=project or config.project))
        run = wandb.init(  # not left to Lightning, whose own arguments make W&B warn
            project=config.project,
            name=f"{run_directory.parent.name}/{run_directory.name}",
            dir=run_directory,
            id=run_directory.name,
            resume="allow",
            mode=mode,
            tags=list(dict.fromkeys([*config.tags, *_tags_of_environment()])),
            group=config.group,
            config=run_config,
            settings=wandb.Settings(
                console="off",
                silent=True,
                save_code=False,
                disable_git=True,  # environment.json has the commit
                init_timeout=SECONDS_TO_START,
                finish_timeout=SECONDS_TO_FINISH,
                finish_timeout_raises=True,
                x_transaction_log_flush_interval=SECONDS_BETWEEN_WRITES,
            ),
        )
        run.define_metric("*", step_metric="trainer/global_step")
        return WandbLogger(experiment=run)

    if mode == "online":
        try:
            return make("online"), f"tracking: W&B online ({reason})"
        except (wandb.Error, ValueError) as error:  # the key is refused, say
            reason = _one_line(error)
    try:
        logger = make("offline")
    except (wandb.Error, ValueError) as error:
        return None, f"tracking: W&B cannot start ({_one_line(error)}); the run goes on without it"
    folder = run_directory / "wandb" / "offline-run-*"
    return logger, f"tracking: W&B offline ({reason}); upload later with: wandb sync {folder}"


def finish(logger: "WandbLogger", summary: dict[str, float], figures: list[Path]) -> str | None:
    """Record the final numbers and figures, and close the run; return a line for the user if W&B has not got it all."""
    import wandb

    run = logger.experiment
    for figure in figures:
        logger.log_image(key=f"figures/{figure.stem}", images=[str(figure)])
    run.summary.update(summary)
    try:
        run.finish()
    except (TimeoutError, wandb.Error):
        folder = Path(run.dir).parent
        return f"tracking: W&B's server was lost; upload later with: wandb sync --include-online {folder}"
    finally:  # W&B writes its files to their end only now; whoever may take the run afterwards finds them complete
        with contextlib.suppress(SystemExit):  # its exit code is not ours
            wandb.teardown()
    return None


def _tags_of_environment() -> list[str]:
    return [tag.strip() for tag in os.environ.get("WANDB_TAGS", "").split(",") if tag.strip()]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _has_api_key(url: str) -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(url).netloc
    candidates = [os.environ.get("NETRC"), "~/.netrc", "~/_netrc"]
    for path in (Path(name).expanduser() for name in candidates if name):
        try:
            if netrc.netrc(path).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def _answers(url: str) -> bool:
    """Say whether anything speaks HTTP there; even a refusal is an answer."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/healthz", timeout=SECONDS_TO_ANSWER):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False

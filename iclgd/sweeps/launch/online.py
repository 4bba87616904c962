"""W&B's engine: its server keeps the sweep and chooses every trial; its agents run them here."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from iclgd.sweeps.file.parameter import to_text
from iclgd.sweeps.file.space import flat
from iclgd.terminal import say
from iclgd.tracking.client_process import ClientProcess
from iclgd.tracking.wandb import TrackingConfig, TrackingError, resolve_mode
from iclgd.vendors.wandb import CANNOT_PAUSE

SECONDS_TO_ANSWER = 60.0  # of W&B's server


class OnlineSweepError(TrackingError):
    """A sweep that W&B's server cannot keep."""


def choose_engine(wanted: str) -> tuple[str, str]:
    """Return the engine, ``"wandb"`` or ``"local"``, and a line for the user that says which and why.

    Args:
        wanted: ``"wandb"``, ``"local"`` or ``"auto"``, which is W&B's where runs would be tracked online.

    Raises:
        OnlineSweepError: if W&B's is demanded and cannot be had.
        TrackingError: if W&B's settings cannot be read, or demand a server without an API key.
    """
    if wanted == "local":
        return "local", "engine: local (as configured)"
    mode, reason = resolve_mode(TrackingConfig())
    if mode != "online":
        reason = f"WANDB_MODE={mode}" if mode == os.environ.get("WANDB_MODE") else reason
        if wanted == "wandb":
            raise OnlineSweepError(f"the W&B engine needs 'wandb login' and W&B's server ({reason}); or use: local")
        return "local", f"engine: local ({reason})"
    return "wandb", f"engine: W&B ({reason})"


def create(content: dict[str, Any], command: list[str], project: str, entity: str | None) -> str:
    """Create a sweep on W&B's server and return ``"entity/project/id"``; the client says its address on standard error.

    Args:
        content: of a sweep file.
        command: of each trial, instead of the file's.
        project: of the sweep and its runs.
        entity: the account or team; ``None`` for the user's default one.

    Raises:
        OnlineSweepError: if the server refuses.
    """
    client = ClientProcess()
    try:
        client.send(
            do="sweep",
            content={**content, "command": command},
            project=project,
            entity=entity,
            seconds=SECONDS_TO_ANSWER,
        )
        answer = client.receive(2 * SECONDS_TO_ANSWER)
    finally:
        client.kill()
    if "failed" in answer:
        raise OnlineSweepError(f"W&B did not create the sweep: {answer['failed']}")
    for line in answer["said"]:
        say(line)
    return str(answer["path"])


def for_agents(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands below ``parameters`` so that W&B's agents give trials the values of the file.

    Agents write values by Python's ``str``: null as ``None``, which is a text to the config, and the text "1" as a
    number. Such values become texts that are YAML, with keys with dots, as ``str`` would quote them in nested ones.
    """
    return {
        key: {
            name: _for_agents(value) if name == "value" else [*map(_for_agents, value)] if name == "values" else value
            for name, value in settings.items()
        }
        for key, settings in flat(content)
    }


def _for_agents(value: Any) -> Any:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        read = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value}"]))
    except (yaml.YAMLError, OmegaConfBaseException):
        read = None
    return value if repr(read) == repr({"value": value}) else to_text(value)


def trial_command(prefix: list[str], config: Path, fixed: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """Return a sweep's ``command``, in which W&B's agent fills in the environment and a trial's values.

    Args:
        prefix: of a launcher, such as ``srun`` and its options.
        config: that each trial runs.
        fixed: ``key=value`` that the trial's values override.
        overrides: ``key=value`` that override them.
    """
    return ["${env}", *prefix, "iclgd", "run", str(config), *fixed, "${args_no_hyphens}", *overrides]


def pause(sweep: str) -> None:
    """Let a sweep start no other trials, wherever its agents are; of a sweep that is over, nothing is asked.

    Args:
        sweep: ``"entity/project/id"``.

    Raises:
        OnlineSweepError: if the server does not answer or refuses.
    """
    _change("pause", sweep, unless=CANNOT_PAUSE)


def resume(sweep: str) -> None:
    """Let a sweep that is paused go on.

    Args:
        sweep: ``"entity/project/id"``.

    Raises:
        OnlineSweepError: if the server does not answer or refuses.
    """
    _change("resume", sweep)


def _change(what: str, sweep: str, unless: str | None = None) -> None:
    command = [sys.executable, "-m", "wandb", "sweep", f"--{what}", sweep]
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=SECONDS_TO_ANSWER,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise OnlineSweepError(f"W&B did not {what} {sweep}: no answer within {SECONDS_TO_ANSWER:g} s") from None
    lines = result.stderr.splitlines() or [f"exit code {result.returncode}"]
    if result.returncode != 0 and (unless is None or unless not in lines[-1]):
        raise OnlineSweepError(f"W&B did not {what} {sweep}: {lines[-1].removeprefix('Error: ')}")

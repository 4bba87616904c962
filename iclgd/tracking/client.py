"""W&B's client: the only code that imports it, in a process that nothing depends on.

:class:`iclgd.tracking.client_process.ClientProcess` starts it. Jobs come from standard input and messages go to
standard output, one line of JSON each; ``{"failed": why}`` is the last of a process that cannot go on.
"""

import contextlib
import io
import json
import os
import queue
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from iclgd.messages import all_lines
from iclgd.tracking.environment import use_wandb_variables
from iclgd.tracking.run_copy import RunCopy
from iclgd.tracking.run_directory import RunDirectory
from iclgd.tracking.server import missing_for_online
from iclgd.tracking.wandb import TrackingConfig
from iclgd.tracking.watch import Watch
from iclgd.vendors.wandb import do_without_pandas, experimental_settings

if TYPE_CHECKING:
    import wandb

Message = dict[str, Any]

SECONDS_BETWEEN_LOOKS = 0.2  # at a run in progress
SECONDS_BETWEEN_WRITES = 0.2  # of W&B's files
SECONDS_OF_GRACE = 10.0  # more than W&B's client is told, which knows better what it waits for
SECONDS_ALONE = 10.0  # to close W&B's files once the run's process is gone


class Channel:
    """Messages to and from the process that has started this one. W&B, which prints, gets other standard files."""

    def __init__(self) -> None:
        self._out, incoming = os.fdopen(os.dup(1), "wb", buffering=0), os.fdopen(os.dup(0), "rb")
        nowhere = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1):
            os.dup2(nowhere, standard)
        self._lock = threading.Lock()
        self._incoming: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self.is_open = True
        threading.Thread(target=self._read, args=(incoming,), daemon=True).start()

    def send(self, **message: Any) -> None:
        """Send a message, if anybody is left to read it."""
        with self._lock, contextlib.suppress(OSError):
            self._out.write(json.dumps(message).encode() + b"\n")

    def receive(self, seconds: float | None = None) -> Message | None:
        """Return the next message, ``None`` if there will be none, or none has come in time."""
        try:
            return self._incoming.get(timeout=seconds)
        except queue.Empty:
            return None

    def _read(self, incoming: io.BufferedReader) -> None:
        for line in incoming:
            self._incoming.put(json.loads(line))
        self.is_open = False
        self._incoming.put(None)


def main() -> None:
    """Do jobs until there are no more, or one fails: W&B's client may be in any state then."""
    do_without_pandas()
    channel = Channel()
    watch = Watch(lambda reason: channel.send(failed=reason))
    jobs = {"look": look, "copy": copy, "sweep": create_sweep, "report": save_report}
    try:
        while (job := channel.receive()) is not None:
            channel.send(**jobs[job["do"]](job, channel, watch))
    except BaseException as error:  # SystemExit and KeyboardInterrupt too, which W&B's client raises
        channel.send(failed=one_line(error))
    os._exit(0)  # W&B's exit hooks may wait for what is gone


def look(job: Message, _: Channel, watch: Watch) -> Message:
    """Say which server W&B's settings name, and what is missing to use it; with ``account``, whose the key is too."""
    with watch.limit(job["seconds"], "start of W&B's client"):
        import wandb

        try:
            settings = wandb.setup(wandb.Settings(silent=True)).settings
        except (wandb.Error, ValueError) as error:
            return {"unreadable": one_line(error)}
        url = str(settings.base_url)
        found: Message = {"url": url, "missing": missing_for_online(url)}
        if job.get("account") and found["missing"] is None:
            try:
                found["account"] = wandb.Api().default_entity
            except Exception as error:
                found["missing"] = f"{url} refuses: {one_line(error)}"
        wandb.teardown()
        return found


def create_sweep(job: Message, _: Channel, watch: Watch) -> Message:
    """Create a sweep on W&B's server."""
    said = io.StringIO()
    with watch.limit(job["seconds"], "answer of W&B's server"), contextlib.redirect_stdout(said):
        import wandb

        sweep = wandb.sweep(job["content"], project=job["project"], entity=job["entity"])
        path = f"{os.environ['WANDB_ENTITY']}/{os.environ['WANDB_PROJECT']}/{sweep}"  # as the server has told it
        wandb.teardown()
    return {"path": path, "said": said.getvalue().splitlines()}


def save_report(job: Message, _: Channel, watch: Watch) -> Message:
    """Save a W&B Report on W&B's server."""
    with watch.limit(job["seconds"], "answer of W&B's server"):
        import wandb

        from iclgd.tracking.wandb_blocks import save

        saved = save(job["content"])
        wandb.teardown()
    return saved


def copy(job: Message, channel: Channel, watch: Watch) -> Message:
    """Copy a run directory to W&B: a run in progress (``follow``), until it is over, or a complete one."""
    directory = RunDirectory(Path(job["path"]))
    with contextlib.nullcontext() if job["follow"] else tempfile.TemporaryDirectory() as elsewhere:
        start_seconds = 2 * job["start_seconds"] + SECONDS_OF_GRACE  # online, and then offline
        with watch.limit(start_seconds, "start of a W&B run"):
            use_wandb_variables(directory)
            source = RunCopy(directory)
            if not job["follow"] and source.is_marked(_target(source, job["account"])):
                return {"done": "there already"}
            run, mode, reason = _start(source, job, channel, elsewhere)
        if job["follow"]:
            channel.send(started=mode, reason=reason)
        source.begin(run, job["num_lines"])
        exit_code = 0
        while job["follow"]:
            message = channel.receive(SECONDS_BETWEEN_LOOKS)
            if message is not None:
                exit_code = message["exit_code"]
                break
            if not channel.is_open:
                exit_code = 1
                watch.end_within(SECONDS_ALONE, "end of the run of a process that is gone")
                break
            with watch.limit(start_seconds, "W&B's taking of numbers"):
                source.copy_rows()
        with watch.limit(job["finish_seconds"] + SECONDS_OF_GRACE, "end of a W&B run"):
            problems = source.finish(exit_code)
        return {"done": mode, "problems": problems}


def _target(source: RunCopy, account: str | None) -> str:
    import wandb

    settings = wandb.setup(wandb.Settings(silent=True)).settings
    target = f"{settings.base_url}/{settings.entity or account}/{_project(source.config)}/{source.directory.path.name}"
    wandb.teardown()
    return target


def _project(config: TrackingConfig) -> str:
    return (os.environ.get("WANDB_SWEEP_ID") and os.environ.get("WANDB_PROJECT")) or config.project


def _start(source: RunCopy, job: Message, channel: Channel, folder: str | None) -> "tuple[wandb.Run, str, str]":
    """Start a W&B run whose files go below the run directory or to a folder; return it, its mode and why."""
    import wandb

    config, path = source.config, source.directory.path

    def start(mode: Literal["online", "offline"]) -> wandb.Run:
        # Within a sweep W&B takes these from its global settings alone, and no notice of the arguments below.
        wandb.setup(wandb.Settings(silent=True, run_id=path.name, project=_project(config)))
        tags = [tag.strip() for tag in os.environ.get("WANDB_TAGS", "").split(",") if tag.strip()]
        return wandb.init(
            project=config.project,
            name=f"{path.parent.name}/{path.name}",
            dir=folder or path,
            id=path.name,
            resume="allow",
            mode=mode,
            tags=list(dict.fromkeys([*config.tags, *tags])),
            group=config.group,
            config=source.run_config,
            settings=wandb.Settings(
                console="off",
                silent=True,
                save_code=False,
                disable_git=True,  # environment.json has the commit
                init_timeout=job["start_seconds"],
                finish_timeout=job["finish_seconds"],
                finish_timeout_raises=True,
                stop_fn=lambda: channel.send(stop=True),
                # A run that is over was on another machine, or on this one at another time.
                **experimental_settings(job["follow"], SECONDS_BETWEEN_WRITES),
            ),
        )

    if job["mode"] == "online":
        try:
            return start("online"), "online", job["reason"]
        except (wandb.Error, ValueError) as error:  # the key is refused, say
            if not job["follow"]:
                raise
            reason = one_line(error)
        wandb.teardown()  # W&B's process holds the run that has not started
        return start("offline"), "offline", reason
    return start("offline"), "offline", job["reason"]


def one_line(error: BaseException) -> str:
    """Return what an error says, or else its name."""
    said = all_lines(error)
    return said if type(error).__module__.startswith("wandb") and said else f"{type(error).__name__}: {said}"

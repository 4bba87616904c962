"""Light records of many runs: what their small files say, without opening models or importing torch.

A folder is searched for run directories, those of sweeps' trials included; links are followed, each run is found once.
"""

import contextlib
import fcntl
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import yaml

from iclgd.files import FileError, read_text
from iclgd.runs.search import Found, search
from iclgd.tracking.failure import read_failure
from iclgd.tracking.run_directory import RunDirectory, RunDirectoryError

State = Literal["complete", "running", "interrupted", "failed", "damaged"]
STATES: tuple[State, ...] = ("complete", "running", "interrupted", "failed", "damaged")
Value = str | int | float | bool | None | tuple[Any, ...]  # of a config's key; lists as tuples

TIMESTAMP = re.compile(r"\d{8}-\d{6}(?=-|$)")  # with which the names of run directories begin, in UTC
MOST_BYTES = 2**20  # of a config
MOST_VALUES, MOST_DEPTH = 20_000, 30  # of a config; aliases of YAML repeat values without end
# YAML's reader in C takes an eighth of the time; both are safe.
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class RunRecord:
    """What the small files of a run directory say.

    Attributes:
        path: the run directory, absolute.
        state: ``complete`` with its summary; without, ``running`` (a process works on it), ``failed`` (it ended with an
            error), ``interrupted`` (stopped or killed; ``iclgd resume`` goes on), or ``damaged`` (a file cannot be
            believed; ``problem`` says which).
        config: the resolved config by its full keys; empty if it cannot be read.
        summary: the final numbers; those that are null in the file are NaN; empty unless complete.
        environment: versions, source commit, machine, as far as they can be read.
        when: it was begun: the timestamp in its name, else the time of its config file; ``None`` if neither is there.
        problem: what is wrong with a damaged run, or why one failed.

    Example:
        >>> records, left_out = find_records([Path("tests/reference/runs")])
        >>> [(record.config_name, record.experiment, record.state) for record in records]
        [('debug', 'regression', 'complete'), ('embedded', 'text', 'complete'), ('seeds', 'regression', 'complete')]
        >>> records[0].config["task.num_context"], round(records[0].summary["loss/transformer"], 3), left_out
        (8, 0.12, [])
    """

    path: Path
    state: State
    config: Mapping[str, Value] = field(default_factory=dict)
    summary: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    when: datetime | None = None
    problem: str = ""

    @property
    def config_name(self) -> str:
        """Return what the run's config is called, or what ``--name`` has called it: the folder of its run directory."""
        return self.path.parent.name

    @property
    def experiment(self) -> str:
        """Return the kind of experiment; empty if the config cannot be read."""
        return str(self.config.get("experiment", ""))

    @property
    def version(self) -> str:
        """Return the program's version that began the run; empty if nobody knows."""
        packages = self.environment.get("packages")
        version = packages.get("iclgd") if isinstance(packages, dict) else None
        return version if isinstance(version, str) else ""

    @property
    def sweep(self) -> Path | None:
        """Return the folder of the sweep whose trial the run is, ``None`` of any other run."""
        folder = self.path.parents[2] if len(self.path.parents) > 2 else self.path
        is_a_sweeps = self.path.parent.parent.name == "runs" and (folder / "options.json").is_file()
        return folder if is_a_sweeps else None


class Memory(Protocol):
    """Keeps records, so that a run which has not changed is not read again."""

    def recall(self, found: Found) -> RunRecord | None:
        """Return the record of a run as it is now, if it is known."""

    def keep(self, found: Found, record: RunRecord) -> None:
        """Take a record that has just been read."""


def find_records(
    paths: Sequence[Path], memory: Memory | None = None, tell: Callable[[int, int], None] | None = None
) -> tuple[list[RunRecord], list[str]]:
    """Read the records of all runs in and below some folders, in the order of their paths.

    Nothing is raised for what cannot be read: a run whose files are damaged has a record that says so.

    Args:
        paths: run directories, sweeps' folders, or any folders of them.
        memory: of earlier records.
        tell: is called with how many are read, of how many.

    Returns:
        The records, and a line for each folder that was left out, with the reason.
    """
    left_out: list[str] = []
    runs = sorted({each.path: each for each in search(paths, left_out)}.values())
    records = []
    for number, found in enumerate(runs):
        if tell is not None:
            tell(number, len(runs))
        record = memory.recall(found) if memory is not None else None
        if record is None:
            read = _read(Path(found.path))
            if isinstance(read, str):
                left_out.append(f"{found.path}: {read}")
                continue
            record = read
            if memory is not None:
                memory.keep(found, record)
        records.append(_with_state_of_now(record))
    return records, left_out


def _read(path: Path) -> RunRecord | str:
    """Return a run's record, whose state is ``interrupted`` if it is not known without asking for its lock.

    Returns a text if it is no run: why it is left out.
    """
    try:
        directory = RunDirectory(path)
    except RunDirectoryError:
        return "not a run directory (it has no config.yaml)"
    problems: list[str] = []
    config = _config(path, problems)
    # What reads the summary compares it with the checksums in environment.json.
    environment, summary = None, None
    with contextlib.suppress(OSError, ValueError):
        environment = directory.read_environment(lambda _: None)
    if environment is None and config is None:
        return "not a run directory (its config.yaml is not a run's, and it has no environment.json)"
    is_damaged = config is None
    try:
        summary = directory.read_summary(lambda line: problems.insert(0, _without(path, line)))
        is_damaged |= summary is None and (path / "summary.json").exists()
        numbers = {name: math.nan if value is None else float(value) for name, value in (summary or {}).items()}
    except (OSError, ValueError, OverflowError) as error:  # OverflowError: a number of 400 digits
        problems.insert(0, f"summary.json: cannot be read ({error})")
        is_damaged, numbers = True, {}
    if summary is not None and not summary:
        problems.insert(0, "summary.json: has no numbers")
        is_damaged = True
    failure = None if numbers else read_failure(directory)
    state: State = "damaged" if is_damaged else "complete" if numbers else "failed" if failure else "interrupted"
    if state == "failed":
        problems = [str(failure)]
    elif state != "damaged":
        problems = []
    if state != "complete":  # numbers beside a config that is not known say nothing
        numbers = {}
    return RunRecord(path, state, config or {}, numbers, _shown(environment), _when(path), "; ".join(problems))


def _with_state_of_now(record: RunRecord) -> RunRecord:
    """Return a record as running if a process works on a run that is not complete."""
    if record.state == "complete" or not is_locked(record.path):
        return record
    return RunRecord(record.path, "running", record.config, {}, record.environment, record.when)


def is_locked(path: Path) -> bool:
    """Say whether a process works on a run; on some shared file systems other machines' locks are not seen."""
    try:
        file = os.open(path / ".lock", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(file)
    return False


def _config(path: Path, problems: list[str]) -> dict[str, Value] | None:
    """Return a run's config by its full keys, ``None`` if it is none, which is added to the problems."""
    try:
        values = yaml.load(read_text(path / "config.yaml", MOST_BYTES), Loader=Loader)
        if not isinstance(values, dict):
            raise ValueError("no keys and values")
        config = flat_config(values)
        if not isinstance(config.get("experiment"), str):
            raise ValueError("it names no experiment")
    except FileNotFoundError:
        problems.append(f"config.yaml: missing; put it back with: iclgd resume {path}")
    except FileError as error:
        problems.append(_without(path, str(error)))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OverflowError) as error:
        # What YAML says goes over several lines.
        reason = "not YAML" if isinstance(error, yaml.YAMLError) else str(error)
        problems.append(f"config.yaml: damaged ({reason})")
    else:
        return config
    return None


def flat_config(values: dict[Any, Any]) -> dict[str, Value]:
    """Return a nested config by its full keys, lists as tuples.

    Raises:
        ValueError: if it has more or deeper values than any config.

    Example:
        >>> flat_config({"seed": 0, "analysis": {"run": ["iterated"]}})
        {'seed': 0, 'analysis.run': ('iterated',)}
    """
    return dict(_flat(values, iter(range(MOST_VALUES))))


def _flat(values: dict[Any, Any], left: Iterator[int], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Value]]:
    """Yield a config's values by their full keys.

    Args:
        values: nested.
        left: yields as often as there may be another value.
        prefix: of the keys.
        depth: of the values.

    Raises:
        ValueError: if there are too many or too deep ones.
    """
    for key, value in values.items():
        _count(left, depth)
        if isinstance(value, dict):
            yield from _flat(value, left, f"{prefix}{key}.", depth + 1)
        else:
            yield f"{prefix}{key}", _plain(value, left, depth)


def _plain(value: Any, left: Iterator[int], depth: int) -> Value:
    """Return a value that can be compared, and be a key of a dictionary."""
    _count(left, depth)
    if isinstance(value, list):
        return tuple(_plain(each, left, depth + 1) for each in value)
    if isinstance(value, dict | tuple | set):
        raise ValueError("a list of what is neither text nor a number")
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _count(left: Iterator[int], depth: int) -> None:
    if depth > MOST_DEPTH or next(left, None) is None:
        raise ValueError("too many values or levels")


def _shown(environment: dict[str, Any] | None) -> dict[str, Any]:
    """Return an environment without what differs between runs that were made alike."""
    return {name: value for name, value in (environment or {}).items() if name != "checksums"}


def _when(path: Path) -> datetime | None:
    """Return when a run was begun."""
    if match := TIMESTAMP.match(path.name):
        with contextlib.suppress(ValueError):  # a month 13
            return datetime.strptime(match[0], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    with contextlib.suppress(OSError, ValueError, OverflowError):
        return datetime.fromtimestamp((path / "config.yaml").stat().st_mtime, UTC)
    return None


def _without(path: Path, line: str) -> str:
    """Return a message about a file of a run without the folder, which whoever shows it says himself."""
    return line.removeprefix(f"{path}/")

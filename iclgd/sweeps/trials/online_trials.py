"""What has become of the trials that W&B's server gave out: read from run directories and from the agents' logs.

An agent ends with success whatever its trials do, and the server need not be there to be asked.
"""

import math
from pathlib import Path
from typing import Any

from iclgd import yaml_files
from iclgd.checks import InputError
from iclgd.sweeps.file.parameter import to_text
from iclgd.sweeps.file.schema import SweepFile
from iclgd.sweeps.trials.folder import SweepFolder
from iclgd.sweeps.trials.outcome import NoMetricError, final_value
from iclgd.vendors.wandb import said_by_agent
from iclgd.yaml_files import YamlError

INTERRUPTED = "iclgd: interrupted"


class AgentLog:
    """Reads what an agent says of its trials, and what these say, as far as it is written.

    Args:
        path: of the log.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last_words: dict[str, str] = {}  # of trials that have ended by themselves, by run id
        self.ended_early: set[str] = set()  # run ids of trials that the server has stopped
        self._position = 0
        self._words = ""

    def read(self) -> None:
        """Read what is new."""
        with self.path.open("rb") as file:
            file.seek(self._position)
            for line in file:
                if not line.endswith(b"\n"):  # it is just being written
                    return
                self._position += len(line)
                self._take(line.decode(errors="replace").strip())

    def _take(self, line: str) -> None:
        match said_by_agent(line):
            case None:
                if line.startswith("iclgd: ") or (line and not self._words.startswith("iclgd: ")):
                    self._words = line
            case "begins", _:
                self._words = ""
            case "ends", run:
                self.last_words[run] = self._words
            case "ends early", run:
                self.ended_early.add(run)


class OnlineTrials:
    """The trials of a sweep of W&B's engine.

    Args:
        folder: of the sweep.
        sweep: its file.
    """

    def __init__(self, folder: SweepFolder, sweep: SweepFile) -> None:
        self.folder = folder
        self.sweep = sweep
        self.values: dict[Path, float] = {}  # of complete runs, by run directory; NaN without a metric
        self.ended_early: set[str] = set()  # run ids
        self.failed: dict[str, str] = {}  # reasons by run id
        self.unfinished: dict[str, Path] = {}  # run directories by run id: in progress, or interrupted
        self._without_metric: dict[str, str] = {}  # reasons by run id
        self._logs: dict[Path, AgentLog] = {}
        self._configs: dict[Path, dict[str, Any]] = {}  # values of the parameters by run directory

    def look(self) -> None:
        """Look what is there now."""
        for path in self.folder.logs.glob("agent-*.log"):
            self._logs.setdefault(path, AgentLog(path)).read()
        runs = {path.name: path for path in self.folder.runs.glob("*/[!.]*") if (path / "config.yaml").is_file()}
        for run, path in runs.items():
            if path not in self.values and run not in self._without_metric and (path / "summary.json").is_file():
                self._take_value(run, path)
        complete = {path.name for path in self.values}
        self.ended_early = set().union(*(log.ended_early for log in self._logs.values())) - complete
        self.failed = {
            run: words.removeprefix("iclgd: ") or "ended without a summary"
            for log in self._logs.values()
            for run, words in log.last_words.items()
            if run not in complete | self.ended_early and not words.startswith(INTERRUPTED)
        } | self._without_metric
        ended = complete | self.ended_early | set(self.failed)
        self.unfinished = {run: path for run, path in sorted(runs.items()) if run not in ended}

    def run_directory(self, run: str) -> Path | None:
        """Return a run's directory if the trial got as far as that."""
        return next(self.folder.runs.glob(f"*/{run}"), None)

    def setting(self, run_directory: Path) -> str:
        """Return the values of the sweep's parameters in a run, as ``key=value``."""
        return " ".join(f"{key}={to_text(value)}" for key, value in self.values_of(run_directory).items())

    def values_of(self, run_directory: Path) -> dict[str, Any]:
        """Return the values of the sweep's parameters in a run; ``None`` for keys that its config lacks.

        Raises:
            InputError: if its config is damaged.
        """
        if run_directory not in self._configs:  # which no run changes
            file = run_directory / "config.yaml"
            try:
                _, node = yaml_files.read(file)
                config = None if node is None else yaml_files.plain(node)
            except YamlError as error:
                raise YamlError(f"{file}: {error}") from None
            if not isinstance(config, dict):
                raise YamlError(f"{file}: damaged (not names and values)")
            self._configs[run_directory] = {each.key: _select(config, each.key) for each in self.sweep.parameters}
        return self._configs[run_directory]

    def trial_log(self, run: str) -> Path:
        """Return the file with what a trial printed that has gone on after its agent's end."""
        return self.folder.logs / f"trial-{run}.log"

    def why_unfinished(self, run: str) -> str:
        """Return why a trial that nobody runs is not complete, as far as that is known."""
        log = self.trial_log(run)
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        words = next((line for line in reversed(lines) if line.startswith("iclgd: ")), INTERRUPTED)
        return words.removeprefix("iclgd: ")

    def name(self, run: str) -> str:
        """Return a run's id and, if they are known, the values of the sweep's parameters."""
        directory = self.run_directory(run)
        if directory is None:
            return run
        try:
            return f"{run} ({self.setting(directory)})"
        except InputError:  # its config is damaged
            return run

    def _take_value(self, run: str, path: Path) -> None:
        try:
            self.values[path] = final_value(path, self.sweep.metric) if self.sweep.metric else math.nan
        except (NoMetricError, InputError, OSError) as error:
            self._without_metric[run] = str(error)


def _select(config: Any, key: str) -> Any:
    """Return what a config has at a key with dots, ``None`` if it has nothing there."""
    for name in key.split("."):
        config = config.get(name) if isinstance(config, dict) else None
    return config

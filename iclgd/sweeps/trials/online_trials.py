"""What has become of the trials that W&B's server gave out: read from run directories and from the agents' logs.

An agent ends with success whatever its trials do, and the server need not be there to be asked.
"""

import math
from pathlib import Path

from omegaconf import OmegaConf

from iclgd.sweeps.file.parameter import to_text
from iclgd.sweeps.file.schema import SweepFile
from iclgd.sweeps.trials.folder import SweepFolder
from iclgd.sweeps.trials.outcome import NoMetricError, final_value
from iclgd.tracking.run_directory import RunDirectory
from iclgd.vendors.wandb import said_by_agent

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

    def best(self) -> Path | None:
        """Return the best complete run, by the sweep's metric; ``None`` if that is finite in none."""
        if self.sweep.metric is None:
            return None
        sign = -1 if self.sweep.metric.goal == "maximize" else 1
        finite = [path for path, value in self.values.items() if math.isfinite(value)]
        return min(finite, key=lambda path: (sign * self.values[path], path.name), default=None)

    def setting(self, run_directory: Path) -> str:
        """Return the values of the sweep's parameters in a run, as ``key=value``."""
        config = OmegaConf.load(RunDirectory(run_directory).config_path)
        values = [(each.key, OmegaConf.select(config, each.key)) for each in self.sweep.parameters]
        plain = [(key, OmegaConf.to_container(each) if OmegaConf.is_config(each) else each) for key, each in values]
        return " ".join(f"{key}={to_text(value)}" for key, value in plain)

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
        return run if directory is None else f"{run} ({self.setting(directory)})"

    def _take_value(self, run: str, path: Path) -> None:
        try:
            self.values[path] = final_value(path, self.sweep.metric) if self.sweep.metric else math.nan
        except NoMetricError as error:
            self._without_metric[run] = str(error)

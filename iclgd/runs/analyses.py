"""Analyses of a finished run, whoever asks: a run that has just ended, one that is resumed, or ``iclgd analyze``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from iclgd import config as configs
from iclgd import own_entries
from iclgd.checks import InputError
from iclgd.config import Experiment, ExperimentConfig
from iclgd.failures import Failures
from iclgd.full_keys import flat
from iclgd.own_entries import ImportedFile
from iclgd.report.figures import draw_figures
from iclgd.runs.names import check_names
from iclgd.runs.opening import complete_summary, open_directory
from iclgd.runs.recorded import ONE_PROCESS, recorded_config
from iclgd.runtime.process import prepare_process
from iclgd.tracking.run_copy import forget_arrival
from iclgd.tracking.run_directory import RunDirectory

C = TypeVar("C", bound=ExperimentConfig)
P = TypeVar("P")
GROUP = "analysis"  # of the config


class AnalysisError(InputError):
    """An analysis that a run cannot have."""


def make_analyses(
    experiment: Experiment[C, P], config: C, directory: RunDirectory, names: Sequence[str], failures: Failures
) -> None:
    """Make analyses of a complete run from the weights in its directory, and write them there.

    Args:
        experiment: the run's.
        config: the run's; its ``analysis`` group says how they are made.
        directory: the run's.
        names: which ones.
        failures: collects what fails.
    """
    values = {key: value for key, value in configs.to_dict(config).get(GROUP, {}).items() if key != "run"}
    for name in names:
        with failures.of(f"analysis {name}", "analysis.num_tasks or analysis.num_resamples"):
            directory.write_analysis(name, experiment.analyze(name, config, directory), values)


def analyze(
    path: Path, names: Sequence[str], overrides: Sequence[str] = (), imported: Sequence[ImportedFile] = ()
) -> tuple[RunDirectory, list[str]]:
    """Make analyses of a finished run, and draw their figures.

    Args:
        path: the run directory, which may be of an older version.
        names: of the analyses; those that are there already are made again.
        overrides: ``key=value`` of the config's ``analysis`` group; the run's own config stays as it is.
        imported: files of the user's own entries, to be recorded.

    Returns:
        The run directory, and what failed.

    Raises:
        RunDirectoryError: if it is no directory of a complete run, or another process works on it.
        AnalysisError: if the run cannot have such an analysis, or another key is to change.
        ConfigError: for values that are out of their range, or an analysis that is not defined for the run.
    """
    directory = open_directory(path)
    names = list(dict.fromkeys(names))
    config = recorded_config(directory, ONE_PROCESS)
    experiment = configs.find_experiment(config.experiment)
    if not experiment.analyses:
        raise AnalysisError(f"{path}: a run with experiment: {config.experiment} has no analyses")
    if not names:
        raise AnalysisError(f"{path}: name at least one analysis: {', '.join(experiment.analyses)}")
    check_names("analysis", names, experiment.analyses)
    asked = recorded_config(directory, [*ONE_PROCESS, *overrides])
    before = flat(configs.to_dict(config))
    for key, value in flat(configs.to_dict(asked)).items():
        if before.get(key) == value:
            continue
        if not key.startswith(f"{GROUP}."):
            raise AnalysisError(
                f"{key}={value}: an analysis can change keys of {GROUP} alone; for another run: "
                f"iclgd run {path} {key}={value}"
            )
        if key == f"{GROUP}.run":
            raise AnalysisError(f"{key}: name the analyses themselves: iclgd analyze {path} NAME ...")
    asked = recorded_config(directory, [*ONE_PROCESS, *overrides, f"{GROUP}.run=[{','.join(names)}]"])
    prepare_process(asked.trainer.threads_per_process)
    with directory.lock():
        summary = complete_summary(directory)
        failures = Failures(directory.path / "failures.log")
        if imported:
            directory.write_environment(own_entries.record(directory.read_environment() or {}, imported))
        forget_arrival(directory)
        make_analyses(experiment, asked, directory, names, failures)
        figures = {name: draw for name, draw in experiment.drawings().items() if name in names}
        draw_figures(directory, summary, figures, failures)
    return directory, failures.failed

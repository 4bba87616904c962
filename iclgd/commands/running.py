"""Commands that run an experiment, or what is left of one to do."""

import argparse

from iclgd.quick_imports import quick_imports
from iclgd.runtime.signals import stop_requests
from iclgd.terminal import show, show_table
from iclgd.tracking.run_directory import RunDirectory


def run(arguments: argparse.Namespace) -> int:
    """Run an experiment."""
    with stop_requests.handled():
        with quick_imports():
            from iclgd import config, experiment, own_entries
            from iclgd.runs.opening import config_and_name

            imported = own_entries.load(arguments.imports)
            path, name = config_and_name(arguments.config, arguments.name)
            loaded = config.load(path, arguments.overrides)  # imports the experiment
        return _show(*experiment.run(loaded, name, imported))


def resume(arguments: argparse.Namespace) -> int:
    """Go on with an interrupted run, or with one whose end is to move."""
    with stop_requests.handled():
        with quick_imports():
            from iclgd import experiment, own_entries

        imported = own_entries.load(arguments.imports)
        return _show(*experiment.resume(arguments.run_directory, arguments.overrides, imported))


def analyze(arguments: argparse.Namespace) -> int:
    """Look at a finished run."""
    with stop_requests.handled():
        with quick_imports():
            from iclgd import own_entries
            from iclgd.runs.analyses import analyze as look

        imported = own_entries.load(arguments.imports)
        names = [item for item in arguments.names if "=" not in item]
        overrides = [item for item in arguments.names if "=" in item]
        return _show(*look(arguments.run_directory, names, [*overrides, *arguments.overrides], imported))


def figures(arguments: argparse.Namespace) -> int:
    """Draw a run's figures again, and print their paths."""
    with quick_imports():
        from iclgd import own_entries
        from iclgd.runs.drawing import redraw

    own_entries.load(arguments.imports)
    files, failed = redraw(arguments.run_directory, arguments.names, arguments.format.split(","))
    for file in files:
        show(file)
    return 1 if failed else 0


def _show(directory: RunDirectory | None, failed: list[str]) -> int:
    """Print the run's tables and, last and alone, its path; other processes than the first have nothing to say."""
    if directory is None:
        return 0
    from iclgd.experiment import tables
    from iclgd.failures import Failures

    failures = Failures(directory.path / "failures.log")
    try:
        for table in tables(directory, failures):
            show_table(table)
        show(directory.path)
    except BrokenPipeError:
        raise
    except OSError as error:  # the run is whole, and its path is not to be lost
        raise OSError(error.errno, error.strerror, f"standard output (the run is in {directory.path})") from None
    return 1 if failed or failures.failed else 0


def export(arguments: argparse.Namespace) -> int:
    """Write a text run in a published record format."""
    with quick_imports():
        from iclgd import own_entries
        from iclgd.export.text_run import export as write
        from iclgd.runs.recorded import ONE_PROCESS, recorded_config
        from iclgd.runtime.process import prepare_process

    own_entries.load(arguments.imports)
    directory = RunDirectory(arguments.run_directory)
    folder = arguments.output or directory.path / "export" / arguments.format
    loaded = recorded_config(directory, ONE_PROCESS)
    prepare_process(loaded.trainer.threads_per_process)
    write(directory, loaded, folder)
    show(folder)
    return 0


def track(arguments: argparse.Namespace) -> int:
    """Bring runs to W&B."""
    from iclgd.tracking.track import track as bring

    report = bring(arguments.paths)
    for line in str(report).splitlines():
        show(line)
    return 1 if report.failed else 0

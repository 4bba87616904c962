"""The command line; each command imports what it needs only when it is chosen, so that --help answers at once."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from iclgd.runtime.ranks import check_ranks, is_first_process
from iclgd.runtime.signals import stop_requests, unblocked
from iclgd.streams import let_go_of_streams, open_streams
from iclgd.terminal import say, show, show_table

COMMANDS_HELP = "run 'iclgd COMMAND --help' for a command's options and an example"
OVERRIDES_HELP = "keys of the config, such as model.num_layers=2 (see them all: iclgd show-config CONFIG)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 2 for bad input, 1 for something that failed."""
    os.environ["MPLBACKEND"] = "agg"  # a notebook's, which need not be there, would be looked for on importing pyplot
    open_streams()
    if not sys.stderr.isatty():  # bars of downloads are not for log files; read when the libraries are imported
        for library in ("HF_HUB", "HF_DATASETS"):
            os.environ.setdefault(f"{library}_DISABLE_PROGRESS_BARS", "1")
    try:
        code = _main(list(sys.argv[1:] if argv is None else argv))
    finally:
        problem = let_go_of_streams()
    if code == 0 and problem is not None and not isinstance(problem, BrokenPipeError):
        code = _fail(f"standard output: {problem.strerror}", 1)
    if stop_requests.must_end_at_once:
        os._exit(code)
    return code


def _main(argv: list[str]) -> int:
    try:
        with unblocked():
            from iclgd.sweeps.arguments import join_action

            arguments = _parse(join_action(argv))
            check_ranks()
            return int(arguments.command(arguments))
    except KeyboardInterrupt as interrupt:
        # Of several processes the first one speaks.
        return _fail(str(interrupt) or "interrupted", 130) if is_first_process() else 130
    except BrokenPipeError:  # whoever read our output has enough of it
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", 1)
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        return _fail(str(error), code)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all others are."""

    def error(self, message: str) -> NoReturn:
        raise SystemExit(_fail(f"{message}; see: {self.prog} --help", 2))


def _parse(argv: list[str]) -> argparse.Namespace:
    """Return the arguments; ``key=value`` may stand anywhere, also behind options, where argparse does not look."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and (not hasattr(arguments, "overrides") or any(item.startswith("-") for item in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.overrides += rest
    return arguments


def _exit_code(error: Exception) -> int | None:
    """Return the exit code of an error that is the user's to mend, ``None`` for a defect of ours."""
    from iclgd.checks import InputError
    from iclgd.memory import OutOfMemoryError

    return 2 if isinstance(error, InputError) else 1 if isinstance(error, OutOfMemoryError) else None


def _fail(message: str, code: int) -> int:
    say(f"iclgd: {message}")
    return code


def _run(arguments: argparse.Namespace) -> int:
    with stop_requests.handled():
        from iclgd import config, experiment
        from iclgd.files import name_for_folder

        loaded = config.load(arguments.config, arguments.overrides)
        return _show(*experiment.run(loaded, name_for_folder(arguments.config)))


def _resume(arguments: argparse.Namespace) -> int:
    with stop_requests.handled():
        from iclgd import experiment

        return _show(*experiment.resume(arguments.run_directory))


def _show(directory, failed: list[str]) -> int:  # type: ignore[no-untyped-def]
    """Print the run's tables and, last and alone, its path; other processes than the first have nothing to say."""
    if directory is None:
        return 0
    from iclgd.report.comparison_table import comparison_table
    from iclgd.report.tables import algorithm_table, summary_table

    summary = directory.read_summary() or {}
    table = comparison_table if "sim_aou" in summary else summary_table
    analyses = directory.read_analyses()
    try:
        show_table(table(summary, directory.path.parent.name))
        if "which_algorithm" in analyses:
            show_table(algorithm_table(analyses["which_algorithm"]))
        show(directory.path)
    except BrokenPipeError:
        raise
    except OSError as error:  # the run is whole, and its path is not to be lost
        raise OSError(error.errno, error.strerror, f"standard output (the run is in {directory.path})") from None
    return 1 if failed else 0


def _export(arguments: argparse.Namespace) -> int:
    from iclgd import config, experiment
    from iclgd.export.text_run import export
    from iclgd.tracking.run_directory import RunDirectory

    directory = RunDirectory(arguments.run_directory)
    folder = arguments.output or directory.path / "export" / arguments.format
    one_process = ["trainer.devices=1", "trainer.num_nodes=1", "trainer.strategy=auto"]  # whatever the run had
    loaded = config.load(directory.config_path, one_process)
    experiment.prepare_process(loaded.trainer.threads_per_process)
    export(directory, loaded, folder)
    show(folder)
    return 0


def _track(arguments: argparse.Namespace) -> int:
    from iclgd.tracking.track import track

    report = track(arguments.paths)
    for line in str(report).splitlines():
        show(line)
    return 1 if report.failed else 0


def _show_config(arguments: argparse.Namespace) -> int:
    from iclgd import config

    print(config.to_yaml(config.load(arguments.config, arguments.overrides)), end="")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from iclgd.catalogue import catalogue

    for kind, choices in catalogue().items():
        for name, description in choices.items():
            show(f"{kind:<20} {name:<36} {description}".rstrip())
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from rich.table import Table

    from iclgd.analysis.identities import IDENTITIES, TOLERANCE, largest_error

    table = Table("identity", "statement", "largest error", "", title="float64", title_justify="left")
    all_hold = True
    for identity in IDENTITIES:
        error = largest_error(identity, arguments.seed)
        holds = error <= TOLERANCE
        all_hold = all_hold and holds
        table.add_row(identity.name, identity.statement, f"{error:.2e}", "ok" if holds else f"> {TOLERANCE:g}")
    show_table(table)
    return 0 if all_hold else 1


def _bench(arguments: argparse.Namespace) -> int:
    import subprocess

    scripts = Path(__file__).parents[1] / "benchmarks"
    script = scripts / f"{arguments.name}.py"
    if not script.is_file():
        names = ", ".join(sorted(path.stem for path in scripts.glob("[a-z]*.py"))) or "none: benchmarks/ is not here"
        return _fail(f"no benchmark {arguments.name!r}; choose one of: {names}", 2)
    module = [sys.executable, "-m", f"benchmarks.{arguments.name}"]
    return subprocess.run([*module, *arguments.options], cwd=scripts.parent, check=False).returncode


def _parser() -> argparse.ArgumentParser:
    from iclgd.sweeps.arguments import add_commands as add_sweep_commands

    parser = _Parser(
        prog="iclgd",
        description="When a transformer learns in its context, is that gradient descent?",
        epilog=COMMANDS_HELP,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, function, summary: str, example: str) -> argparse.ArgumentParser:  # type: ignore[no-untyped-def]
        command = commands.add_parser(
            name, help=summary, description=summary, epilog=f"example: {example}", allow_abbrev=False
        )
        command.set_defaults(command=function)
        return command

    config = "configs/regression/one_layer.yaml"
    for name, function, summary in (
        ("run", _run, "train, compare with gradient descent, and record the results"),
        ("show-config", _show_config, "print the resolved config, every key included"),
    ):
        command = add(name, function, summary, f"iclgd {name} {config} seed=1")
        command.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file")
        command.add_argument("overrides", nargs="*", default=[], metavar="key=value", help=OVERRIDES_HELP)
    command = add(
        "resume",
        _resume,
        "continue an interrupted run from its last checkpoint",
        "iclgd resume runs/one_layer/20260131-120000-1a2b3c",
    )
    command.add_argument("run_directory", type=Path, metavar="RUN_DIR", help="the run's directory")
    command = add(
        "export",
        _export,
        "recompute what a text run looked at, and write it for the published analysis scripts",
        "iclgd export runs/sst2/20260131-120000-1a2b3c --format lmops",
    )
    command.add_argument("run_directory", type=Path, metavar="RUN_DIR", help="the directory of a complete text run")
    command.add_argument(
        "--format", choices=("lmops",), required=True, help="lmops: microsoft/LMOps, understand_icl (Dai et al. 2023)"
    )
    command.add_argument(
        "--output", type=Path, metavar="FOLDER", help="where to write (default: RUN_DIR/export/FORMAT)"
    )
    command = add(
        "track",
        _track,
        "bring complete runs and sweeps to W&B, later or again: each once, from their run directories",
        "iclgd track runs/one_layer/20260131-120000-1a2b3c runs/sweeps/smoke",
    )
    command.add_argument(
        "paths", type=Path, nargs="+", metavar="PATH", help="a run directory, a sweep's folder, or any folder of them"
    )
    add_sweep_commands(add)
    add("list", _list, "list everything that can be chosen", "iclgd list")
    command = add("verify", _verify, "check the mathematical identities in double precision", "iclgd verify")
    command.add_argument("--seed", type=int, default=0, help="of the random problems (default: 0)")
    command = add("bench", _bench, "measure speed beside a peer in the same run", "iclgd bench regression --repeats 5")
    command.add_argument("name", metavar="NAME", help="of a script in benchmarks/")
    command.add_argument("options", nargs=argparse.REMAINDER, help="of that benchmark")
    return parser


if __name__ == "__main__":
    sys.exit(main())

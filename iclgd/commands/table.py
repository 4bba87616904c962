"""All commands with their arguments, one below the other; what they do is imported when one is chosen."""

import argparse
from collections.abc import Callable, Collection
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from iclgd import __version__
from iclgd.sweeps.arguments import add_commands as add_sweep_commands
from iclgd.sweeps.arguments import add_imports, add_over
from iclgd.terminal import say

COMMANDS_HELP = """run 'iclgd COMMAND --help' for a command's options and an example, 'iclgd run CONFIG --help' for a
config's keys; eval "$(register-python-argcomplete iclgd)" lets Tab complete commands and names (bash, zsh)"""
OVERRIDES_HELP = "keys of the config, such as model.num_layers=2 (see them all: iclgd run CONFIG --help)"
RUN = "runs/one_layer/20260131-120000-1a2b3c"
TEXT_RUN = "runs/sst2/20260131-120000-1a2b3c"
Command = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all others are."""

    def error(self, message: str) -> NoReturn:
        """Print the message and where to read on, and exit with 2."""
        say(f"iclgd: {message}; see: {self.prog} --help")
        raise SystemExit(2)


def make_parser() -> tuple[Parser, Collection[str]]:
    """Return the parser, and the commands' names; of what it parses, ``command`` is a function of all the rest."""
    parser = Parser(
        prog="iclgd",
        description="When a transformer learns in its context, is that gradient descent?",
        epilog=COMMANDS_HELP,
    )
    parser.add_argument("--version", action="version", version=f"iclgd {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, function: Command, summary: str, example: str) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=f"example: {example}",
            allow_abbrev=False,
            conflict_handler="resolve",  # with a config, --help is another
        )
        command.set_defaults(command=function)
        return command

    command = add(
        "run",
        _in("running", "run"),
        "train, compare with gradient descent, and record the results",
        "iclgd run one_layer seed=1",
    )
    _add_config(command)
    command.add_argument("--name", help="of the folder of such runs below runs/ (default: the config's name)")

    command = add(
        "show-config",
        _in("showing", "show_config"),
        "print the resolved config, every key included",
        "iclgd show-config one_layer seed=1",
    )
    _add_config(command)

    command = add(
        "show-prompt",
        _in("prompts", "show_prompt"),
        "print what the model of a text run sees: texts, tokens, and which of them count; no weights are loaded",
        "iclgd show-prompt embedded --query 3 demonstrations.num=4",
    )
    _add_config(command)
    command.add_argument(
        "--query", type=int, default=0, metavar="I", help="its number, as in predictions.jsonl (default: 0)"
    )
    command.add_argument("--draw", type=int, default=0, metavar="K", help="which draw of demonstrations (default: 0)")
    command.add_argument("--json", action="store_true", help="for scripts: everything, positions and ids of tokens too")

    command = add(
        "resume",
        _in("running", "resume"),
        "continue an interrupted run from its last checkpoint, or extend one that has ended",
        f"iclgd resume {RUN} trainer.max_steps=10000",
    )
    _add_run(command)
    command.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="what may change within a run, such as its end"
    )

    command = add(
        "analyze",
        _in("running", "analyze"),
        "look at a finished run: make analyses from its weights",
        f"iclgd analyze {RUN} which_algorithm analysis.num_tasks=2000",
    )
    _add_run(command)
    command.add_argument(
        "names", nargs="+", metavar="NAME", help="of an analysis (iclgd list has them), or analysis.KEY=VALUE"
    )
    command.set_defaults(overrides=[])  # which stand behind options

    command = add(
        "figures",
        _in("running", "figures"),
        "draw the figures of a run again",
        f"iclgd figures {RUN} learning_curve --format pdf,svg",
    )
    _add_run(command)
    command.add_argument("names", nargs="*", metavar="NAME", help="of a figure (default: all there are)")
    command.add_argument("--format", default="png", metavar="LIST", help="png, svg, pdf, with commas (default: png)")

    command = add(
        "runs",
        _in("runs", "runs"),
        "list runs: state, config, what differs from it, headline numbers, age; filters such as 'loss/gd<0.3'",
        "iclgd runs one_layer state=complete 'age<2d' --sort loss/transformer",
    )
    command.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="FILTER",
        help="key=value, key!=value, 'key<value', 'key>value' of config keys, numbers of the summary, state, config, "
        "experiment or age; or a text in the name",
    )
    command.add_argument("--sort", default="age", metavar="KEY", help="by which key (default: age, the newest first)")
    command.add_argument("--reverse", action="store_true", help="the largest first; runs without the number stay last")
    command.add_argument("--columns", metavar="LIST", help="keys with commas; also: begun, differs, numbers")
    command.add_argument("--limit", type=int, metavar="N", help="how many are shown; 0: all (default: 50 in a table)")
    command.add_argument(
        "--dir", type=Path, action="append", default=[], metavar="FOLDER", help="where (default: $ICLGD_RUNS or runs)"
    )
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for scripts: everything of each run, or the columns")
    form.add_argument("--csv", action="store_true", help="for scripts: ages in seconds, numbers in full")

    command = add(
        "compare",
        _in("runs", "compare"),
        "compare complete runs with the first of them: configs, and numbers with intervals of their differences",
        f"iclgd compare {RUN} runs/one_layer/20260131-130000-4d5e6f",
    )
    command.add_argument("runs", type=Path, nargs="+", metavar="RUN_DIR", help="two or more, of one experiment")
    command.add_argument("--all", action="store_true", help="also the numbers of controls")
    command.add_argument("--json", action="store_true", help="for scripts: all numbers in full")
    add_imports(command)

    command = add(
        "export",
        _in("running", "export"),
        "recompute what a text run looked at, and write it for the published analysis scripts",
        f"iclgd export {TEXT_RUN} --format lmops",
    )
    command.add_argument("run_directory", type=Path, metavar="RUN_DIR", help="the directory of a complete text run")
    command.add_argument(
        "--format", choices=("lmops",), required=True, help="lmops: microsoft/LMOps, understand_icl (Dai et al. 2023)"
    )
    command.add_argument(
        "--output", type=Path, metavar="FOLDER", help="where to write (default: RUN_DIR/export/FORMAT)"
    )
    add_imports(command)

    command = add(
        "track",
        _in("running", "track"),
        "bring complete runs and sweeps to W&B, later or again: each once, from their run directories",
        f"iclgd track {RUN} runs/sweeps/smoke",
    )
    command.add_argument(
        "paths", type=Path, nargs="+", metavar="PATH", help="a run directory, a sweep's folder, or any folder of them"
    )

    command = add(
        "report",
        _in("reporting", "report"),
        "review runs and sweeps together: what was asked, is it so, how sure are we, and how to repeat it",
        "iclgd report runs --out report.html",
    )
    command.add_argument(
        "paths",
        type=Path,
        nargs="*",
        metavar="PATH",
        help="a run directory, a sweep's folder, or any folder of them (default: $ICLGD_RUNS, or runs)",
    )
    command.add_argument(
        "--out", type=Path, default=Path("report.html"), metavar="FILE", help="of the page (default: report.html)"
    )
    command.add_argument("--title", metavar="TEXT", help="of the whole")
    add_over(command, "runs")
    command.add_argument("--wandb", metavar="ENTITY/PROJECT", help="make a W&B Report there instead of a page")
    command.add_argument("--dry-run", action="store_true", help="with --wandb: print its blocks, ask no server")
    command.add_argument("--json", action="store_true", help="with --dry-run: as JSON")

    add_sweep_commands(add)

    command = add(
        "reproduce",
        _in("reproducing", "reproduce"),
        "reproduce a paper: run the sweeps of its figures, and judge its claims; what is done is not repeated",
        "iclgd reproduce vonoswald2023 --quick --workers 2",
    )
    command.add_argument(
        "paper", type=Path, metavar="PAPER", help="a paper's name (iclgd list), or the path of one of your own"
    )
    command.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="for the runs whose configs have the key"
    )
    command.add_argument("--quick", action="store_true", help="in minutes on two cores; says what it cannot show")
    command.add_argument("--workers", type=int, default=1, metavar="N", help="runs at the same time (default: 1)")
    command.add_argument(
        "--launcher", choices=("local", "slurm"), default="local", help="where they run (default: this machine)"
    )
    command.add_argument("--dry-run", action="store_true", help="list the runs and how long they take; start nothing")
    command.add_argument(
        "--dir", type=Path, metavar="FOLDER", help="of the runs (default: runs/reproduce/PAPER, with -quick)"
    )
    command.add_argument(
        "--out", type=Path, metavar="FILE", help="of the page (default: report.html in the folder of the runs)"
    )
    add_imports(command)
    slurm = command.add_argument_group("with --launcher slurm")
    slurm.add_argument("--sbatch", action="append", default=[], metavar="OPTION", help="e.g. --sbatch=--time=4:00:00")
    slurm.add_argument("--gpus-per-node", type=int, default=0, metavar="G", help="of a run (0)")

    add_imports(add("list", _in("showing", "list_choices"), "list everything that can be chosen", "iclgd list"))

    command = add(
        "verify",
        _in("showing", "verify"),
        "check the mathematical identities in double precision",
        "iclgd verify",
    )
    command.add_argument("--seed", type=int, default=0, help="of the random problems (default: 0)")

    command = add(
        "bench",
        _in("showing", "bench"),
        "measure speed beside a peer in the same run",
        "iclgd bench regression --repeats 5",
    )
    command.add_argument("name", metavar="NAME", help="of the benchmark (iclgd list)")
    command.add_argument("options", nargs=argparse.REMAINDER, help="of that benchmark")
    return parser, commands.choices


def _in(module: str, function: str) -> Command:
    """Return a function of ``iclgd.commands``, imported when it is called."""
    return lambda arguments: int(getattr(import_module(f"iclgd.commands.{module}"), function)(arguments))


def _add_run(command: argparse.ArgumentParser) -> None:
    command.add_argument("run_directory", type=Path, metavar="RUN_DIR", help="the run's directory")
    add_imports(command)


class _ConfigHelp(argparse.Action):
    """``--help`` behind a config shows the config's keys; before one, and without, the command's arguments."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: object) -> None:
        if namespace.config is None:
            parser.print_help()
            parser.exit()
        namespace.command = _in("showing", "show_keys")


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-h", "--help", action=_ConfigHelp, nargs=0, help="show this, or behind a CONFIG what can be set in it"
    )
    command.add_argument(
        "config", type=Path, metavar="CONFIG", help="a YAML file: a path, or a name (iclgd list); or a run's directory"
    )
    command.add_argument("overrides", nargs="*", default=[], metavar="key=value", help=OVERRIDES_HELP)
    add_imports(command)

"""Commands that show what there is, prove it, or measure it; none makes a run."""

import argparse
import os
import subprocess
import sys

from iclgd.checks import InputError, did_you_mean
from iclgd.quick_imports import quick_imports
from iclgd.terminal import show, show_table


def show_config(arguments: argparse.Namespace) -> int:
    """Print a resolved config."""
    with quick_imports():
        from iclgd import config, own_entries
        from iclgd.runs.opening import config_and_name

    own_entries.load(arguments.imports)
    path, _ = config_and_name(arguments.config)
    sys.stdout.write(config.to_yaml(config.load(path, arguments.overrides, may_lack=True)))
    return 0


def show_keys(arguments: argparse.Namespace) -> int:
    """Print what can be set in a config."""
    with quick_imports():
        from iclgd import config_help, own_entries
        from iclgd.runs.opening import config_and_name

    own_entries.load(arguments.imports)
    path, name = config_and_name(arguments.config)
    groups = config_help.groups(path, arguments.overrides)
    show(f"keys of {name}; iclgd run {arguments.config} KEY=VALUE sets them")
    for group in groups:
        show("")
        show(group.sentence)
        for key in group.keys:
            show(f"  {key}")
            show(f"      {key.sentence}")
    return 0


def list_choices(arguments: argparse.Namespace) -> int:
    """Print everything that can be chosen."""
    with quick_imports():
        from iclgd import own_entries
        from iclgd.catalogue import catalogue

    own_entries.load(arguments.imports)
    for kind, choices in catalogue().items():
        for name, description in choices.items():
            show(f"{kind:<20} {name:<36} {description}".rstrip())
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Check the identities."""
    with quick_imports():
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


def bench(arguments: argparse.Namespace) -> int:
    """Run a benchmark as a process of its own."""
    from iclgd.shipped import names, place

    known = names("benchmark")
    if arguments.name not in known:
        hint = did_you_mean(arguments.name, known)
        raise InputError(f"no benchmark {arguments.name!r}; choose one of: {', '.join(known)}{hint}")
    paths = os.pathsep.join(filter(None, (str(place()), os.environ.get("PYTHONPATH"))))
    # -P: a folder benchmarks/ of the user's, where this is called, is not meant.
    command = [sys.executable, "-P", "-m", f"benchmarks.{arguments.name}", *arguments.options]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, check=False).returncode

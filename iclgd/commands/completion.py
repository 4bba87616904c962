"""What a shell offers when Tab is pressed."""

import argparse
from collections.abc import Collection, Iterable

import argcomplete
from argcomplete.completers import BaseCompleter, FilesCompleter

from iclgd.shipped import names
from iclgd.sweeps.arguments import ACTIONS

# Arguments of commands, and what they may name.
BY_NAME = {"config": "config", "sweep": "sweep", "paper": "paper", "name": "benchmark"}


def answer(parser: argparse.ArgumentParser, commands: Collection[str]) -> None:
    """Tell the shell that asks what may stand where its cursor is, and end the process.

    Args:
        parser: of all commands.
        commands: their names; to a shell, those of two words are two arguments.
    """
    two_words = [name for name in commands if " " in name]
    argcomplete.autocomplete(parser, always_complete_options=False, exclude=two_words, default_completer=_Values())


class _Values(BaseCompleter):
    """What may be given to an argument: names where it takes names, and files."""

    def __call__(
        self, *, prefix: str, action: argparse.Action, parser: argparse.ArgumentParser, parsed_args: argparse.Namespace
    ) -> Iterable[str]:
        if action.dest == "overrides":
            return ()  # keys are known when the config is loaded, which takes seconds
        kind = BY_NAME.get(action.dest)
        if kind is None:
            return FilesCompleter()(prefix)
        further = ACTIONS if kind == "sweep" else ()
        files = () if kind == "benchmark" else FilesCompleter(("yaml", "yml"))(prefix)
        return [*names(kind), *further, *files]

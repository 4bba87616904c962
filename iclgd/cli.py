"""The command line: what is typed becomes a call and an exit code.

Each command imports what it needs only when it is chosen, so that --help answers at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from iclgd.runtime.ranks import check_ranks, is_first_process
from iclgd.runtime.signals import stop_requests, unblocked
from iclgd.streams import let_go_of_streams, open_streams
from iclgd.terminal import say


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


def _parse(argv: list[str]) -> argparse.Namespace:
    """Return the arguments; ``key=value`` may stand anywhere, also behind options, where argparse does not look."""
    from iclgd.commands.table import make_parser

    parser, commands = make_parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks
        from iclgd.commands.completion import answer

        answer(parser, commands)
    if argv and not argv[0].startswith("-") and argv[0] not in commands:
        from iclgd.checks import did_you_mean

        parser.error(f"no command {argv[0]!r}{did_you_mean(argv[0], commands)}")
    arguments, rest = parser.parse_known_args(argv)
    if rest and (not hasattr(arguments, "overrides") or any(item.startswith("-") for item in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.overrides += rest
    return arguments


def _exit_code(error: Exception) -> int | None:
    """Return the exit code of an error that is the user's to mend, ``None`` for a defect of ours."""
    from iclgd.checks import InputError

    if isinstance(error, InputError):
        return 2
    from iclgd.memory import OutOfMemoryError  # imports torch, for which no mistake has to wait

    return 1 if isinstance(error, OutOfMemoryError) else None


def _fail(message: str, code: int) -> int:
    say(f"iclgd: {message}")
    return code


if __name__ == "__main__":
    sys.exit(main())

"""The command that reproduces a paper."""

import argparse
import shlex

from iclgd.quick_imports import quick_imports
from iclgd.terminal import say, show, show_table


def reproduce(arguments: argparse.Namespace) -> int:
    """Run a paper's plan and judge its claims; 1 if runs failed, whatever the verdicts are."""
    with quick_imports():
        from iclgd.reproduce.contents import make_review, open_lines, terminal_table
        from iclgd.reproduce.paper import read
        from iclgd.reproduce.plan import Options, elapsed, folder_of, minutes_text, plan_lines, sweeps_to_run
        from iclgd.reproduce.reproduction import Reproduction, evidence_of, run_all, write_verdicts
        from iclgd.review.page import check_libraries, checked_place, write_page
        from iclgd.shipped import find

    paper = read(find("paper", arguments.paper))
    plan = paper.plan(arguments.quick, arguments.overrides)
    options = Options(
        overrides=tuple(arguments.overrides),
        workers=arguments.workers,
        launcher=arguments.launcher,
        imports=tuple(arguments.imports),
        sbatch=tuple(arguments.sbatch),
        gpus_per_node=arguments.gpus_per_node,
    )
    folder = arguments.dir or folder_of(paper, plan, options.overrides)
    sweeps = sweeps_to_run(paper, plan, folder, options)
    if arguments.dry_run:
        show(f"{paper.title} ({paper.reference})")
        show(f"plan {plan.name}: {plan.says}")
        for line in [*plan_lines(sweeps, options.workers), *(f"cannot show: {line}" for line in plan.cannot_show)]:
            show(line)
        return 0
    check_libraries()
    place = checked_place(arguments.out) if arguments.out is not None else folder / "report.html"
    cpu, gpu = (minutes_text(minutes) for minutes in elapsed(sweeps, options.workers))
    say(f"{paper.title}, plan {plan.name}: {plan.says} About {cpu} on CPU cores of their own, {gpu} on GPUs")
    command = _command(arguments)
    try:
        problems = run_all(sweeps)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; what is done is kept; go on with the same command: {command}") from None
    evidence = {sweep.name: evidence_of(sweep, problems.get(sweep.name)) for sweep in sweeps}
    reproduction = Reproduction(paper, plan, options, evidence)
    write_page(make_review(reproduction, command, folder), place)
    show_table(terminal_table(reproduction))
    for line in open_lines(reproduction):
        show(line)
    show(write_verdicts(reproduction, folder))
    show(place)
    if reproduction.has_failed or problems:
        say(f"iclgd: not all runs are done: of claims on them nothing can be said; go on with: {command}")
        return 1
    return 0


def _command(arguments: argparse.Namespace) -> str:
    """Return what was typed, as far as it decides the results."""
    words = ["iclgd", "reproduce", str(arguments.paper), *(["--quick"] if arguments.quick else [])]
    words += ["--workers", str(arguments.workers)] if arguments.workers != 1 else []
    words += ["--launcher", arguments.launcher] if arguments.launcher != "local" else []
    words += [f"--sbatch={option}" for option in arguments.sbatch]
    words += [f"--gpus-per-node={arguments.gpus_per_node}"] if arguments.gpus_per_node else []
    words += ["--dir", str(arguments.dir)] if arguments.dir is not None else []
    words += [word for path in arguments.imports for word in ("--import", str(path))]
    return shlex.join([*words, *arguments.overrides])

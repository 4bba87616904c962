"""The command that reviews many runs: as a page, or as a W&B Report."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from iclgd.checks import InputError
from iclgd.report.settings import SEEDS
from iclgd.terminal import say, show

if TYPE_CHECKING:
    from iclgd.review.document import Review


def report(arguments: argparse.Namespace) -> int:
    """Write the page and print its path, or save the W&B Report and print its address."""
    if arguments.wandb is not None:
        return _wandb_report(arguments)
    if arguments.dry_run or arguments.json:
        raise InputError("--dry-run and --json show the blocks of a W&B Report: they need --wandb ENTITY/PROJECT")
    from iclgd.review.page import check_libraries, checked_place, write_page

    check_libraries()
    place = checked_place(arguments.out)
    review = _review(arguments)
    write_page(review, place)
    show(place)
    return 0


def _wandb_report(arguments: argparse.Namespace) -> int:
    from iclgd.review.wandb_report import blocks, check_library, describe, parse_target, save

    if arguments.json and not arguments.dry_run:
        raise InputError("--json shows the blocks of a W&B Report: it needs --dry-run")
    entity, project = parse_target(arguments.wandb)
    if not arguments.dry_run:
        check_library()
    made = blocks(_review(arguments), entity, project)
    if arguments.dry_run:
        for line in describe(made, arguments.json).split("\n"):
            show(line)
    else:
        show(save(made))
    return 0


def _review(arguments: argparse.Namespace) -> "Review":
    from iclgd.review.contents import make_review

    paths = arguments.paths or [Path(os.environ.get("ICLGD_RUNS") or "runs")]
    review = make_review(paths, arguments.title, arguments.over or SEEDS)
    if not review.sections:
        say(f"no runs below {', '.join(map(str, paths))}")
    return review

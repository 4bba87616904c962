"""What the environment tells of this process's place among others, checked before libraries read it.

Nothing slow is imported here: Lightning takes a rank from the environment as it is imported.
"""

import os

from iclgd.checks import InputError

READ_BY_LIBRARIES = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
PARENT = "ICLGD_PARENT"  # the process id of a first process that has started this one


class LaunchError(InputError):
    """Processes that are not those of the config, or that cannot meet."""


def number(name: str, least: int = 0) -> int:
    """Return a variable of the environment that is a whole number.

    Raises:
        LaunchError: if it is none, or not set.
    """
    text = os.environ.get(name)
    if text is None:
        raise LaunchError(f"{name} is not set")
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
        raise LaunchError(f"{name} must be a whole number of at least {least}, got {text!r}")
    return int(text)


def check_ranks() -> None:
    """Refuse ranks that are no numbers.

    Raises:
        LaunchError: for the first such variable.
    """
    for name in READ_BY_LIBRARIES:
        if name in os.environ:
            number(name)


def is_first_process() -> bool:
    """Say whether this process is the first of its run, as far as the environment tells."""
    names = ["RANK", "LOCAL_RANK", "NODE_RANK", *(["SLURM_PROCID"] if "SLURM_STEP_ID" in os.environ else [])]
    return all(os.environ.get(name, "0") in ("", "0") for name in names)


def is_orphan() -> bool:
    """Say whether the process that has started this one, as a further rank, is gone."""
    return os.environ.get(PARENT, str(os.getppid())) != str(os.getppid())

"""What W&B's agents and commands for sweeps say, which W&B does not promise (of 0.31)."""

import re

CANNOT_PAUSE = "Cannot pause "  # `wandb sweep --pause` of one that is over, in its last line
OF_THE_AGENT = re.compile(r"[-\d]+ [:,\d]+ - wandb\.wandb_agent - [A-Z]+ - (.*)")
EVENTS = {"About to run command: ": "begins", "Cleaning up finished run: ": "ends", "Stop: ": "ends early"}
# Else three quick failures end an agent; five first ones still do.
WITHOUT_FLAPPING = {"WANDB_AGENT_DISABLE_FLAPPING": "true"}


def said_by_agent(line: str) -> tuple[str, str] | None:
    """Return what has happened to a trial, and the id of its run, as a line of an agent's log tells.

    Args:
        line: of the log, to which the trials write as well.

    Returns:
        ``"begins"`` (with the trial's command), ``"ends"``, ``"ends early"`` (the server has stopped it) or ``""`` for
        anything else that agents say; ``None`` if the line is a trial's.

    Example:
        >>> said_by_agent("2026-01-31 12:00:00,123 - wandb.wandb_agent - INFO - Cleaning up finished run: 1a2b3c4d")
        ('ends', '1a2b3c4d')
    """
    if (said := OF_THE_AGENT.fullmatch(line)) is None:
        return None
    for words, event in EVENTS.items():
        if said[1].startswith(words):
            return event, said[1].removeprefix(words)
    return "", said[1]

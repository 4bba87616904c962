"""What W&B's server has of a run directory's rows."""

from tests.wandb_server import JSON, StoredRun


def lines(run: StoredRun) -> list[JSON]:
    """Return the rows of ``metrics.jsonl``, each of which must be there once and in its place."""
    found = [row for row in run.history if row["_step"] % 2]
    assert [row["_step"] for row in found] == [2 * number + 1 for number in range(len(found))]
    return found


def pages(run: StoredRun) -> list[JSON]:
    """Return the rows of figures and tables, which must follow the lines that they belong to."""
    numbers = [row["_step"] for row in run.history]
    assert numbers == sorted(set(numbers))
    return [row for row in run.history if row["_step"] % 2 == 0]

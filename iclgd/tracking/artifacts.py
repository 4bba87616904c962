"""A run's model as an artifact of W&B's: its weights, and what is needed to load and to judge them."""

import math
from typing import TYPE_CHECKING, Any

from iclgd.tracking.pages import OF_A_PART
from iclgd.tracking.provenance import provenance
from iclgd.tracking.run_directory import MODEL_FOLDER, WEIGHTS, RunDirectory

if TYPE_CHECKING:
    import wandb


BESIDE = ("config.yaml", "summary.json", "report.html")  # of them those that the run has
MOST_CHARACTERS = 128  # of an artifact's name


def log_model(run: "wandb.Run", directory: RunDirectory, config: dict[str, Any], summary: dict[str, Any]) -> list[str]:
    """Log the model, if the run has kept one, as the run's output, which is the lineage; return what is wrong with it.

    The files stay where they are: W&B reads them when it uploads them, which may be later.

    Args:
        run: W&B's.
        directory: the run's, complete.
        config: its resolved config.
        summary: its final numbers.

    Raises:
        OSError: if a file cannot be read.
    """
    import wandb

    if (wrong := directory.problem_with(WEIGHTS)) is not None:
        return [f"{directory.path / WEIGHTS}: {wrong}"]
    kept = [name for name in (WEIGHTS, MODEL_FOLDER) if (directory.path / name).exists()]
    if not kept:
        return []
    files = [directory.path / name for name in (*kept, *BESIDE) if (directory.path / name).is_file()]
    files += sorted(path for path in (directory.path / MODEL_FOLDER).rglob("*") if path.is_file())
    sweep = run.settings.sweep_id or None
    metadata = {
        "experiment": config.get("experiment"),
        "run": directory.path.name,
        "config": directory.path.parent.name,
        "sweep": sweep,
        "group": run.group or None,
        "environment": provenance(directory),
        "summary": _numbers(summary),
    }
    artifact = wandb.Artifact(f"model-{run.id}"[:MOST_CHARACTERS], type="model", metadata=metadata)
    for path in files:
        artifact.add_file(str(path), str(path.relative_to(directory.path)), policy="immutable", skip_cache=True)
    of_sweep = [alias for alias in (sweep, run.group) if alias and not {"/", ":"} & set(alias)]
    run.log_artifact(artifact, aliases=list(dict.fromkeys(["latest", *of_sweep])))
    return []


def _numbers(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers that are of no single layer or seed; W&B's JSON has no infinity."""
    whole = {name: value for name, value in summary.items() if not OF_A_PART.search(name)}
    return {name: value if math.isfinite(value or 0) else str(value) for name, value in whole.items()}

"""Everything that can be chosen, read from the dictionaries that the choices themselves are made from."""

from pathlib import Path
from typing import Any

from iclgd.analysis.finetune import METHODS
from iclgd.analysis.identities import IDENTITIES
from iclgd.analysis.learners import LEARNERS
from iclgd.analysis.out_of_distribution import SHIFTS
from iclgd.analysis.references import GD_PLUS_PLUS
from iclgd.checks import InputError
from iclgd.data import REGRESSION_TASKS
from iclgd.data.covariance import COVARIANCES
from iclgd.data.covariates import DISTRIBUTIONS
from iclgd.data.prompts import OVERFLOWS, SELECTIONS
from iclgd.data.text import load_task, text_task_names
from iclgd.experiments import EXPERIMENTS
from iclgd.experiments.analyses import ANALYSES
from iclgd.experiments.language_modeling import LANGUAGES
from iclgd.files import read_text
from iclgd.measures import CONTROLS
from iclgd.models.attention import ATTENTIONS
from iclgd.models.tokens import POSITIONAL_ENCODINGS, TOKENS
from iclgd.modules.optimizer_config import SCHEDULES
from iclgd.modules.similarities import RANDOM_UPDATES
from iclgd.runtime.trainer import ACCELERATORS, PRECISIONS, STRATEGIES
from iclgd.tracking.wandb import MODES


def catalogue() -> dict[str, dict[str, str]]:
    """Return for each kind (a config key where there is one) its names with a line about each.

    Configs and sweeps are those below ``configs/`` and ``sweeps/`` in the current directory.
    """
    return {
        "config": {str(path): _first_comment(path) for path in sorted(Path("configs").rglob("*.yaml"))},
        "sweep": {str(path): _first_comment(path) for path in sorted(Path("sweeps").glob("*.yaml"))},
        "experiment": {name: entry.description for name, entry in EXPERIMENTS.items()},
        "task.name": _described({**REGRESSION_TASKS, **LANGUAGES})
        | {name: load_task(name).description for name in text_task_names()},
        "task.distribution": DISTRIBUTIONS,
        "task.covariance": COVARIANCES,
        "model.attention": ATTENTIONS,
        "model.tokens": TOKENS,
        "model.positional_encoding": POSITIONAL_ENCODINGS,
        "training.schedule": SCHEDULES,
        "evaluation.gd_plus_plus": GD_PLUS_PLUS,
        "analysis.run": {name: analysis.description for name, analysis in ANALYSES.items()},
        "analysis.shifts": {name: shift.description for name, shift in SHIFTS.items()},
        "demonstrations.selection": SELECTIONS,
        "demonstrations.overflow": OVERFLOWS,
        "finetune.method": METHODS,
        "evaluation.controls": {name: control.description for name, control in CONTROLS.items()},
        "evaluation.random_updates": RANDOM_UPDATES,
        "trainer.accelerator": ACCELERATORS,
        "trainer.precision": PRECISIONS,
        "trainer.strategy": STRATEGIES,
        "tracking.mode": MODES,
        "learner": {name: learner.description for name, learner in LEARNERS.items()},
        "identity": {identity.name: identity.statement for identity in IDENTITIES},
    }


def _described(choices: dict[str, Any]) -> dict[str, str]:
    return {name: choice.__doc__.splitlines()[0].replace("`", "") for name, choice in choices.items()}


def _first_comment(path: Path) -> str:
    try:
        first = read_text(path).partition("\n")[0]
    except (InputError, OSError):  # whoever runs it is told
        return ""
    return first.removeprefix("#").strip() if first.startswith("#") else ""

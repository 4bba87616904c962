"""Everything that can be chosen, read from the dictionaries that the choices themselves are made from."""

from pathlib import Path
from typing import Any

from iclgd.analysis.every_position.shifts import SHIFTS as FUNCTION_SHIFTS
from iclgd.analysis.finetune import METHODS
from iclgd.analysis.function_baselines import BASELINES
from iclgd.analysis.identities import IDENTITIES
from iclgd.analysis.learners import LEARNERS
from iclgd.analysis.out_of_distribution import SHIFTS
from iclgd.analysis.references import GD_PLUS_PLUS
from iclgd.checks import InputError
from iclgd.data import REGRESSION_TASKS
from iclgd.data.covariance import COVARIANCES
from iclgd.data.covariates import DISTRIBUTIONS
from iclgd.data.functions import FUNCTION_TASKS
from iclgd.data.functions.inputs import INPUT_COVARIANCES
from iclgd.data.functions.queries import QUERY_SHIFTS
from iclgd.data.prompts import OVERFLOWS, SELECTIONS
from iclgd.data.sequences import SEQUENCE_TASKS
from iclgd.data.text import OVERLONG, load_task, text_task_names
from iclgd.data.text_datamodule import PLACES
from iclgd.experiments import EXPERIMENTS
from iclgd.experiments.analyses import ANALYSES
from iclgd.experiments.function_analyses import ANALYSES as FUNCTION_ANALYSES
from iclgd.experiments.language_modeling import LANGUAGES
from iclgd.experiments.sequence_analyses import ANALYSES as SEQUENCE_ANALYSES
from iclgd.files import read_text
from iclgd.measures import CONTROLS
from iclgd.models.attention import ATTENTIONS
from iclgd.models.function_transformer import LAYOUTS
from iclgd.models.gpt import TRAINED_ATTENTIONS
from iclgd.models.sequences.attention import ATTENTIONS as SEQUENCE_ATTENTIONS
from iclgd.models.sequences.attention import MESA_SOLVERS
from iclgd.models.sequences.tokens import TOKENS as SEQUENCE_TOKENS
from iclgd.models.tokens import POSITIONAL_ENCODINGS, TOKENS
from iclgd.modules.optimizer_config import SCHEDULES
from iclgd.modules.similarities import RANDOM_UPDATES
from iclgd.runtime.trainer import ACCELERATORS, PRECISIONS, STRATEGIES
from iclgd.shipped import names
from iclgd.tracking.wandb import MODES


def catalogue() -> dict[str, dict[str, str]]:
    """Return for each kind (a config key where there is one) its names with a line about each."""
    return {
        "config": {name: first_comment(path) for name, path in names("config").items()},
        "sweep": {name: first_comment(path) for name, path in names("sweep").items()},
        "paper": {name: first_comment(path) for name, path in names("paper").items()},
        "benchmark": {name: first_sentence(path) for name, path in names("benchmark").items()},
        "experiment": {name: entry.description for name, entry in EXPERIMENTS.items()},
        "task.name": _described({**REGRESSION_TASKS, **LANGUAGES, **SEQUENCE_TASKS})
        | {name: load_task(name).description for name in text_task_names()},
        "function class": _described(FUNCTION_TASKS),
        "task.query": {name: shift.description for name, shift in QUERY_SHIFTS.items()},
        "task.input_covariance": INPUT_COVARIANCES,
        "task.distribution": DISTRIBUTIONS,
        "task.covariance": COVARIANCES,
        "task.overlong": OVERLONG,
        "model.attention": {**ATTENTIONS, **TRAINED_ATTENTIONS, **SEQUENCE_ATTENTIONS},
        "model.mesa_solver": MESA_SOLVERS,
        "model.tokens": {**TOKENS, **SEQUENCE_TOKENS},
        "model.positional_encoding": POSITIONAL_ENCODINGS,
        "model.layout": LAYOUTS,
        "training.schedule": SCHEDULES,
        "evaluation.gd_plus_plus": GD_PLUS_PLUS,
        "analysis.run": {
            **{name: each.description for name, each in FUNCTION_ANALYSES.items()},
            **{name: each.description for name, each in SEQUENCE_ANALYSES.items()},
            **{name: each.description for name, each in ANALYSES.items()},
        },
        "analysis.shifts": {
            **{name: each.description for name, each in FUNCTION_SHIFTS.items()},
            **{name: each.description for name, each in SHIFTS.items()},
        },
        "demonstrations.selection": SELECTIONS,
        "demonstrations.overflow": OVERFLOWS,
        "finetune.method": METHODS,
        "evaluation.controls": {name: control.description for name, control in CONTROLS.items()},
        "evaluation.baselines": {name: baseline.description for name, baseline in BASELINES.items()},
        "evaluation.random_updates": RANDOM_UPDATES,
        "evaluation.place": PLACES,
        "trainer.accelerator": ACCELERATORS,
        "trainer.precision": PRECISIONS,
        "trainer.strategy": STRATEGIES,
        "tracking.mode": MODES,
        "learner": {name: learner.description for name, learner in LEARNERS.items()},
        "identity": {identity.name: identity.statement for identity in IDENTITIES},
    }


def _described(choices: dict[str, Any]) -> dict[str, str]:
    return {name: choice.__doc__.splitlines()[0].replace("`", "") for name, choice in choices.items()}


def first_comment(path: Path) -> str:
    """Return what a YAML file says about itself in its first line."""
    try:
        first = read_text(path).partition("\n")[0]
    except (InputError, OSError):  # whoever runs it is told
        return ""
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def first_sentence(path: Path) -> str:
    """Return what a module says about itself in its first line."""
    return read_text(path).removeprefix('"""').partition("\n")[0]

"""Numbers that were published, with where they stand: of implementations that we or others ran, and of papers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from iclgd.runs.records import Value

Kind = Literal["published implementation", "paper"]
VON_OSWALD = (
    "[vO] implementation: google-research/self-organising-systems, transformers_learn_icl_by_gd, commit 3d5547c, "
    "run with seed 0 (docs/results.md); its random numbers are others than ours"
)
DAI = "[Dai] Dai et al. 2023: GPT 1.3B, mean over sst2, sst5, mr, subj, agnews and cb"
DEUTCH = (
    "[Deutch] Deutch et al. 2024: result files of GiilDe/ft-vs-icl, commit 1952ce3, fairseq GPT 1.3B, 32 "
    "demonstrations, mean over layers, range over three draws"
)
PAPERS_MODEL = "KoboldAI/fairseq-dense-1.3B"  # of [Dai] and [Deutch], under the name that Hugging Face has it by
PAPERS_PLACE = "first_answer"  # where the published code looks
OTHER_PLACE = "similarities are those at the token that predicts the answer; the papers look at the answer, one later"
PAPERS_TASKS = ("sst2", "sst5", "mr", "subj", "agnews", "cb")


@dataclass(frozen=True)
class Published:
    """A published number.

    Args:
        kind: which column it goes to.
        name: of the summary.
        value: a number, or a range as text.
        source: where it stands.
        needs: values that a run's config must have, by full keys; a tuple of values for one of them.
    """

    kind: Kind
    name: str
    value: float | str
    source: str
    needs: Mapping[str, tuple[Value, ...]]


def _regression(
    layers: int, steps: tuple[int, ...], numbers: Mapping[str, float], model: Mapping[str, Value]
) -> list[Published]:
    """Return numbers of the published implementation: N = D = 10, inputs uniform from -1 to 1, no noise."""
    wanted: dict[str, tuple[Value, ...]] = {
        "experiment": ("regression",),
        "task.name": ("linear",),
        "task.num_context": (10,),
        "task.input_dim": (10,),
        "task.output_dim": (1,),
        "task.input_range": (1.0,),
        "task.weight_scale": (1.0,),
        "task.num_noise": (0,),
        "task.distribution": ("uniform",),
        "task.covariance": ("isotropic",),
        "model.num_layers": (layers,),
        "model.tokens": ("joint",),
        "model.layer_norm": (False,),
        "model.mlp": (False,),
        "trainer.max_steps": steps,
        **{f"model.{key}": (value,) for key, value in model.items()},
    }
    return [Published("published implementation", name, value, VON_OSWALD, wanted) for name, value in numbers.items()]


def _deutch(task: str, method: str, rate: float, numbers: Mapping[str, str]) -> list[Published]:
    wanted: dict[str, tuple[Value, ...]] = {
        "experiment": ("text",),
        "task.name": (task,),
        "finetune.method": (method,),
        "finetune.learning_rate": (rate,),
        "demonstrations.num": (32,),
    }
    return [Published("published implementation", name, value, DEUTCH, wanted) for name, value in numbers.items()]


_ANY_TEXT: dict[str, tuple[Value, ...]] = {"experiment": ("text",), "finetune.method": ("gradient_descent",)}

PUBLISHED: tuple[Published, ...] = (
    *_regression(
        1,
        (5000,),
        {
            "loss/transformer": 0.2079,
            "loss/gd": 0.2074,
            "alignment/sensitivity_cosine": 0.9993,
            "alignment/sensitivity_l2": 0.097,
            "alignment/prediction_l2": 0.0232,
            "gd/learning_rate": 0.5901,
        },
        {"attention": "linear", "num_heads": 1},
    ),
    *_regression(
        2,
        (5000,),
        {
            "loss/transformer": 0.1136,
            "loss/gd": 0.1588,
            "loss/gd_plus_plus": 0.1116,
            "alignment/sensitivity_cosine": 0.9511,
            "alignment/sensitivity_cosine_gd_plus_plus": 0.9975,
        },
        {"attention": "linear", "num_heads": 1, "recurrent": True},
    ),
    *_regression(
        1,
        (5000, 10000),  # published 5000 with a constant rate; softmax.yaml says why ours are more
        {"loss/transformer": 0.2201, "loss/gd": 0.2074, "alignment/sensitivity_cosine": 0.9641},
        {"attention": "softmax", "num_heads": 2},
    ),
    *_deutch("sst2", "gradient_descent", 5e-4, {"sim_aou": "0.109 - 0.113", "sim_am_delta": "0.129 - 0.171"}),
    *_deutch("sst2", "layer_causal", 5e-4, {"sim_aou": "0.212 - 0.230", "sim_am_delta": "0.288 - 0.320"}),
    *_deutch("sst5", "gradient_descent", 1.6e-4, {"sim_aou": "0.080 - 0.106", "sim_am_delta": "0.295 - 0.328"}),
    *_deutch("sst5", "layer_causal", 1.6e-4, {"sim_aou": "0.103 - 0.113", "sim_am_delta": "0.319 - 0.330"}),
    *_deutch("mr", "gradient_descent", 3e-3, {"sim_aou": "0.206 - 0.222", "sim_am_delta": "0.077 - 0.173"}),
    *_deutch("mr", "layer_causal", 3e-3, {"sim_aou": "0.321 - 0.334", "sim_am_delta": "0.258 - 0.268"}),
    *_deutch("subj", "gradient_descent", 3e-3, {"sim_aou": "0.157 - 0.191", "sim_am_delta": "0.178 - 0.297"}),
    *_deutch("subj", "layer_causal", 3e-3, {"sim_aou": "0.340 - 0.353", "sim_am_delta": "0.318 - 0.329"}),
    *_deutch("agnews", "gradient_descent", 0.2, {"sim_aou": "0.266 - 0.343", "sim_am_delta": "0.459 - 0.561"}),
    *_deutch("agnews", "layer_causal", 0.2, {"sim_aou": "0.321 - 0.335", "sim_am_delta": "0.418 - 0.449"}),
    *_deutch("cb", "gradient_descent", 0.08, {"sim_aou": "0.197 - 0.213", "sim_am_delta": "0.235 - 0.255"}),
    *_deutch("cb", "layer_causal", 0.08, {"sim_aou": "0.342 - 0.347", "sim_am_delta": "0.370 - 0.388"}),
    Published("paper", "rec2ftp", 85.56, DAI, _ANY_TEXT),
    Published("paper", "sim_aou", 0.186, DAI, _ANY_TEXT),
    Published("paper", "sim_aou_random", 0.0, DAI, _ANY_TEXT),
    Published("paper", "sim_am_zero_shot", 0.338, DAI, _ANY_TEXT),
    Published("paper", "sim_am", 0.442, DAI, _ANY_TEXT),
    Published("paper", "kendall", 0.193, DAI, _ANY_TEXT),
    Published("paper", "kendall_random", 0.0, DAI, _ANY_TEXT),
)


def published(config: Mapping[str, Value]) -> list[Published]:
    """Return the published numbers that stand beside a run's.

    Args:
        config: of the run, by full keys. A key that it has not, as of another version, stands in the way of none.

    Example:
        >>> found = published({"experiment": "text", "finetune.method": "gradient_descent", "task.name": "embedded"})
        >>> [(each.name, each.value) for each in found][:2]
        [('rec2ftp', 85.56), ('sim_aou', 0.186)]
    """
    return [each for each in PUBLISHED if not mismatches(each, config)]


def mismatches(entry: Published, config: Mapping[str, Value]) -> list[str]:
    """Return the keys in which a run is not what a published number is of."""
    return [
        key
        for key, wanted in entry.needs.items()
        if (key in config or key == "experiment") and config.get(key) not in wanted
    ]


def how_other(config: Mapping[str, Value]) -> str:
    """Say in what a text run is another than the papers', nothing if in nothing.

    Example:
        >>> how_other({"experiment": "text", "model.name": "gpt2", "task.name": "sst2"})
        'the model is another than that of the papers (GPT 1.3B)'
        >>> how_other({"experiment": "text", "model.name": "embedded", "task.name": "embedded"})
        'model and task are others than those of the papers (GPT 1.3B): see directions in them, not values'
        >>> theirs = {"experiment": "text", "model.name": PAPERS_MODEL, "task.name": "cb"}
        >>> how_other({**theirs, "evaluation.place": "prompt"})
        'similarities are those at the token that predicts the answer; the papers look at the answer, one later'
    """
    if config.get("experiment") != "text":
        return ""
    is_model, is_task = config.get("model.name") == PAPERS_MODEL, config.get("task.name") in PAPERS_TASKS
    said = []
    if not is_model and not is_task:
        said.append("model and task are others than those of the papers (GPT 1.3B): see directions in them, not values")
    elif not is_model:
        said.append("the model is another than that of the papers (GPT 1.3B)")
    elif not is_task:
        said.append("the task is none of the papers'")
    if config.get("evaluation.place", PAPERS_PLACE) != PAPERS_PLACE:  # a run of another version may not have it
        said.append(OTHER_PLACE)
    return "; ".join(said)

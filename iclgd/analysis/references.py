"""What every evaluation compares a transformer with: learners as modules, or trained beside it."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from iclgd.analysis.gd_plus_plus_tuning import tuned_as_published
from iclgd.data import RegressionBatch, RegressionTask
from iclgd.data.seeding import named_generator
from iclgd.models.constructions import gd_plus_plus_transformer, gradient_descent_transformer
from iclgd.models.features import FeatureGradientDescent
from iclgd.models.gd_momentum import best_gd_momentum
from iclgd.models.gd_plus_plus import best_gd_plus_plus
from iclgd.models.learners import best_learning_rate
from iclgd.models.transformer import Transformer, TransformerConfig, TransformerLayer

NUM_FEATURES = 40  # of the sine's learner beside a transformer that projects its tokens to no other width
FEATURES_INIT_SCALE = 0.1  # larger than the transformer's: the features' output weights start at zero
GD_PLUS_PLUS = {
    "trained": "learning rates and corrections trained on fresh tasks, as in [vO]'s code (train_gd_whitening)",
    "optimal": "both at the minimum of the loss on the evaluation tasks; not with model.clip",
    "none": "no GD++",
}


@dataclass(frozen=True)
class Setting:
    """One seed's transformer and tasks, beside which a learner stands.

    Args:
        task: what is learned.
        model: the transformer's architecture.
        batch: the evaluation tasks, on which learners may be at their best.
        seed: of initial weights and of tasks to tune on.
        tuning: how GD++ gets its parameters, one of ``GD_PLUS_PLUS``.
        num_tuning_steps: of its training.
        ridge_lambda: of ridge regression.
        is_blank: whether the learner's weights will be loaded, so that long searches for them can be left out.
    """

    task: RegressionTask
    model: TransformerConfig
    batch: RegressionBatch
    seed: int
    tuning: str
    num_tuning_steps: int
    ridge_lambda: float
    is_blank: bool = False

    @property
    def num_steps(self) -> int:
        """Return how many layers can learn: of separate tokens the first can but join x and y; [vO] section 4."""
        return max(1, self.model.num_layers - 1) if self.model.tokens == "separate" else self.model.num_layers

    @property
    def clip(self) -> float:
        """Return the bound of a reference's activations."""
        return self.model.clip if self.num_steps > 1 else 0.0


class Reference(NamedTuple):
    """A learner beside a transformer.

    Args:
        module: with a predictor's call. One that has parameters to train is trained beside the transformer.
        chosen: the numbers that were chosen for it, by their summary names.
    """

    module: nn.Module
    chosen: dict[str, float]


def gradient_descent(setting: Setting) -> Reference:
    """Return gradient descent at its best learning rate, in as many steps as the model has layers that can learn."""
    best = best_learning_rate(*setting.batch, num_steps=setting.num_steps)
    model = gradient_descent_transformer(
        setting.task.input_dim,
        setting.task.output_dim,
        best.learning_rate,
        num_layers=setting.num_steps,
        clip=setting.clip,
    )
    return Reference(model, {"gd/learning_rate": best.learning_rate, "gd/loss": best.loss})


def gd_plus_plus(setting: Setting) -> Reference | None:
    """Return GD++ beside deeper models: its one step predicts what one step of gradient descent does."""
    task, depth, recurrent = setting.task, setting.num_steps, setting.model.recurrent
    if depth == 1 or setting.tuning == "none":
        return None
    if setting.is_blank:
        zeros = [0.0] * (1 if recurrent else depth)
        model = gd_plus_plus_transformer(task.input_dim, zeros, zeros, task.output_dim, depth, clip=setting.clip)
    elif setting.tuning == "trained":
        generator = named_generator(setting.seed, "gd_plus_plus")
        config = TransformerConfig(depth, recurrent=recurrent, clip=setting.clip)
        model = tuned_as_published(task, config, setting.num_tuning_steps, generator)
    else:
        tuned = best_gd_plus_plus(*setting.batch, num_steps=depth, shared=recurrent)
        steps = slice(1 if recurrent else depth)
        model = gd_plus_plus_transformer(
            task.input_dim, tuned.learning_rates[steps], tuned.gammas[steps], task.output_dim, depth
        )
    return Reference(model, chosen_steps(model))


def gd_momentum(setting: Setting) -> Reference | None:
    """Return gradient descent with momentum at its best rates, beside models with momentum of two steps or more."""
    task, depth = setting.task, setting.num_steps
    if depth == 1 or not setting.model.has_momentum:
        return None
    rate, momentum, loss = (0.0, 0.0, 0.0) if setting.is_blank else best_gd_momentum(*setting.batch, depth)
    model = gradient_descent_transformer(
        task.input_dim, task.output_dim, rate, depth, clip=setting.clip, momentum=momentum
    )
    chosen = {"gd_momentum/learning_rate": rate, "gd_momentum/momentum": momentum, "gd_momentum/loss": loss}
    return Reference(model, chosen)


def feature_gradient_descent(setting: Setting) -> Reference:
    """Return gradient descent on the output weights of a network, yet to be trained."""
    num_features = setting.model.in_projection or NUM_FEATURES
    features = FeatureGradientDescent(setting.task.input_dim, setting.task.output_dim, num_features)
    return Reference(features.initialize(FEATURES_INIT_SCALE, named_generator(setting.seed, "features")), {})


def chosen_steps(gd_plus_plus: Transformer) -> dict[str, float]:
    """Return the learning rate and the gamma of each of GD++'s layers with weights of their own."""
    chosen = {}
    for index, layer in enumerate(gd_plus_plus.layers):
        assert isinstance(layer, TransformerLayer)
        place = "" if gd_plus_plus.config.recurrent else f"/layer_{index + 1:02}"
        diagonal = -layer.attention.ov_matrix()[0].diagonal()
        chosen[f"gd_plus_plus/learning_rate{place}"] = diagonal[-1].item()
        chosen[f"gd_plus_plus/curvature{place}"] = diagonal[0].item()
    return chosen

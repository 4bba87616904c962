"""What a transformer is compared with, by task."""

from torch import nn

from iclgd.data import RegressionBatch, RegressionTask, SineTask
from iclgd.data.seeding import named_generator
from iclgd.models.constructions import gd_plus_plus_transformer, gradient_descent_transformer
from iclgd.models.features import FeatureGradientDescent
from iclgd.models.gd_plus_plus import best_gd_plus_plus
from iclgd.models.learners import best_learning_rate
from iclgd.models.transformer import Transformer, TransformerConfig, TransformerLayer
from iclgd.modules.gd_plus_plus_tuning import tuned_as_published

NUM_FEATURES = 40  # of the sine's learner beside a transformer that projects its tokens to no other width
FEATURES_INIT_SCALE = 0.1  # larger than the transformer's: the features' output weights start at zero
GD_PLUS_PLUS = {
    "trained": "learning rates and corrections trained on fresh tasks, as in [vO]'s code (train_gd_whitening)",
    "optimal": "both at the minimum of the loss on the evaluation tasks; not with model.clip",
    "none": "no GD++",
}


def make_references(
    task: RegressionTask,
    model: TransformerConfig,
    tuning: str,
    num_tuning_steps: int,
    batch: RegressionBatch,
    seed: int,
) -> tuple[dict[str, nn.Module], dict[str, float]]:
    """Return the references of one seed, and the numbers that were chosen for them by their summary names.

    Linear tasks have gradient descent, and GD++ beside deeper models, in as many steps as the model has layers that
    can learn. The sine has gradient descent on the output weights of a network, yet to be trained.

    Args:
        task: what is learned.
        model: the transformer's architecture.
        tuning: how GD++ gets its parameters, one of ``GD_PLUS_PLUS``.
        num_tuning_steps: of its training.
        batch: the evaluation tasks, on which gradient descent has its best learning rate.
        seed: of initial weights and of tasks to tune on.
    """
    if isinstance(task, SineTask):
        features = FeatureGradientDescent(task.input_dim, task.output_dim, model.in_projection or NUM_FEATURES)
        return {"mlp_gd": features.initialize(FEATURES_INIT_SCALE, named_generator(seed, "features"))}, {}
    # With x and y in separate tokens the first layer can but join them: [vO] section 4.
    depth = max(1, model.num_layers - 1) if model.tokens == "separate" else model.num_layers
    clip = model.clip if depth > 1 else 0.0
    best = best_learning_rate(*batch, num_steps=depth)
    gradient_descent = gradient_descent_transformer(
        task.input_dim, task.output_dim, best.learning_rate, num_layers=depth, clip=clip
    )
    references: dict[str, nn.Module] = {"gd": gradient_descent}
    chosen = {"gd/learning_rate": best.learning_rate, "gd/loss": best.loss}
    if depth > 1 and tuning != "none":  # one step of GD++ predicts what one step of gradient descent does
        if tuning == "trained":
            generator = named_generator(seed, "gd_plus_plus")
            config = TransformerConfig(depth, recurrent=model.recurrent, clip=clip)
            gd_plus_plus = tuned_as_published(task, config, num_tuning_steps, generator)
        else:
            tuned = best_gd_plus_plus(*batch, num_steps=depth, shared=model.recurrent)
            steps = slice(1 if model.recurrent else depth)
            gd_plus_plus = gd_plus_plus_transformer(
                task.input_dim, tuned.learning_rates[steps], tuned.gammas[steps], task.output_dim, depth
            )
        references["gd_plus_plus"] = gd_plus_plus
        chosen |= chosen_steps(gd_plus_plus)
    return references, chosen


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

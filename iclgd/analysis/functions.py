"""What non-linear learners predict before and after they see a context; [vO] section 3, appendix A.7."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from iclgd.analysis.subject import Subject
from iclgd.data import SineTask
from iclgd.data.seeding import named_generator
from iclgd.models.features import FeatureGradientDescent
from iclgd.models.transformer import Transformer

NUM_QUERIES = 200


def transformer_kernel(transformer: Transformer, x: Tensor, y: Tensor, query: Tensor) -> Tensor:
    """Return with which weights the last layer of a transformer sums the examples' values, (B, N).

    For linear attention this is a kernel of the query's and the examples' embedded tokens.

    Args:
        transformer: of one layer and one head.
        x: context inputs, (B, N, D).
        y: context targets, (B, N, O).
        query: query inputs, (B, D).

    Example:
        >>> from iclgd.models import gradient_descent_transformer
        >>> transformer = gradient_descent_transformer(input_dim=1, output_dim=1, learning_rate=0.5)
        >>> x, y, query = torch.tensor([[[1.0], [2.0]]]), torch.ones(1, 2, 1), torch.tensor([[3.0]])
        >>> weights = transformer_kernel(transformer, x, y, query)
        >>> weights[0, 1] / weights[0, 0]  # as their products with the query
        tensor(2.)
    """
    hidden = transformer.embed(transformer.tokens(x, y, query))
    (layer,) = transformer.sequence()
    seen = hidden if layer.norm is None else layer.norm(hidden)
    return layer.attention.attention_weights(seen[:-1], seen[-1:])[0, 0].T


def functions(subjects: Sequence[Subject], num_functions: int = 2) -> dict[str, Any]:
    """Evaluate the first seed's learners on whole functions, each with one context.

    Returns:
        ``functions``: for each its ``context`` (x and y), the grid ``x``, the true ``target``, and for ``transformer``
        and ``mlp_gd`` the predictions ``before`` and ``after`` seeing the context, and ``kernel``, the weight that the
        context's first example has for a query at each x.
    """
    subject = subjects[0]
    task, features = subject.task, subject.references["mlp_gd"]
    assert isinstance(task, SineTask)
    assert isinstance(features, FeatureGradientDescent)
    generator, drawn = named_generator(subject.seed, "functions"), []
    for _ in range(num_functions):
        batch = task.sample_function(generator, NUM_QUERIES, subject.dtype)
        problem = (batch.x, batch.y, batch.query)
        with torch.no_grad():
            before, after = subject.transformer.layer_predictions(*problem)[..., 0]
            learners = {
                "transformer": {
                    "before": before.tolist(),
                    "after": after.tolist(),
                    "kernel": transformer_kernel(subject.transformer, *problem)[:, 0].tolist(),
                },
                "mlp_gd": {
                    "before": features.before(batch.query)[:, 0].tolist(),
                    "after": features(*problem)[:, 0].tolist(),
                    "kernel": features.kernel(batch.x[:, :1], batch.query).squeeze(-1).tolist(),
                },
            }
        context = {"x": batch.x[0, :, 0].tolist(), "y": batch.y[0, :, 0].tolist()}
        grid, target = batch.query[:, 0].tolist(), batch.target[:, 0].tolist()
        drawn.append({"context": context, "x": grid, "target": target, **learners})
    return {"functions": drawn}

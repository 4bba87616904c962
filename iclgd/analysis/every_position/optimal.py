"""The best learners of linear functions with noise: for a Gaussian of weights ridge, for a pool of them dMMSE."""

from iclgd.data.functions import FunctionTask, LinearFunctions, LinearFunctionTask, SparseLinearFunctionTask
from iclgd.models.every_position import DiscreteMMSE, EveryPositionLearner
from iclgd.models.learners import Ridge

RIDGE, DMMSE = "ridge", "dmmse"


def is_dense_linear(task: FunctionTask) -> bool:
    """Say whether functions are linear with weights from a Gaussian, or from a pool of such."""
    return isinstance(task, LinearFunctionTask) and not isinstance(task, SparseLinearFunctionTask)


def optimal_learners(task: FunctionTask) -> dict[str, EveryPositionLearner]:
    r"""Return the Bayes-optimal learners that a task defines by its noise, scale and pool.

    Ridge regression with :math:`\lambda = \sigma^2 / s^2`, for weights from :math:`N(0, s^2)`, and the posterior mean
    over the task's pool; Raventós et al. 2023, section 2. There is neither without noise (where the first becomes least
    squares), nor for sparse functions.

    Args:
        task: any; most have none.

    Returns:
        The learners by name, ``ridge`` and ``dmmse``; where there is no pool, or the noise of targets is not known as
        they are scaled anew in each batch, without the second.

    Example:
        >>> from iclgd.data.functions import NoisyLinearFunctionTask
        >>> optimal_learners(NoisyLinearFunctionTask(noise_std=0.5, weight_scale=2.0))
        {'ridge': Ridge(regularization=0.0625)}
    """
    if not is_dense_linear(task) or not task.noise_std:
        return {}
    learners: dict[str, EveryPositionLearner] = {RIDGE: Ridge(task.noise_std**2 / task.weight_scale**2)}
    if task.num_tasks and not task.renormalize:
        pool = task.pool()
        assert isinstance(pool, LinearFunctions)
        learners[DMMSE] = DiscreteMMSE(pool.weight, task.noise_std)
    return learners

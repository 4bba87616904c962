"""The best learners of linear functions with noise: for a Gaussian of weights ridge, for a pool of them dMMSE."""

from iclgd.analysis.function_baselines import BASELINES
from iclgd.data.functions import FunctionTask, LinearFunctionTask, SparseLinearFunctionTask
from iclgd.models.every_position import EveryPositionLearner

RIDGE, DMMSE = "ridge", "dmmse"


def is_dense_linear(task: FunctionTask) -> bool:
    """Say whether functions are linear with weights from a Gaussian, or from a pool of such."""
    return isinstance(task, LinearFunctionTask) and not isinstance(task, SparseLinearFunctionTask)


def optimal_learners(task: FunctionTask) -> dict[str, EveryPositionLearner]:
    r"""Return the Bayes-optimal learners that a task defines by its noise, scale and pool.

    Ridge regression with :math:`\lambda = \sigma^2 / s^2`, for weights from :math:`N(0, s^2)`, and the posterior mean
    over the task's pool; Raventós et al. 2023, section 2. There is neither without noise (where the first becomes least
    squares), nor for functions that are sparse or not linear.

    Args:
        task: any; most have none.

    Returns:
        The learners by name: ``ridge``, and where a task can have it ``dmmse``.

    Example:
        >>> from iclgd.data.functions import NoisyLinearFunctionTask
        >>> optimal_learners(NoisyLinearFunctionTask(noise_std=0.5, weight_scale=2.0))
        {'ridge': Ridge(regularization=0.0625)}
    """
    if not is_dense_linear(task):
        return {}
    return {name: BASELINES[name].make(task) for name in (RIDGE, DMMSE) if BASELINES[name].refuse(task) is None}

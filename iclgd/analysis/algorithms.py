r"""Which algorithm has a model learned? The textbook learner whose sensitivities are nearest to the model's.

A learner's sensitivity, the gradient of its prediction by the query, is the weight that it has learned from the context
([vO] section 3). Distances are means over tasks; their 95 % intervals are percentiles over resamples of the tasks (the
bootstrap; Efron & Tibshirani 1993, chapter 13), the same resamples for all learners, so that differences are paired.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from iclgd.analysis.candidates import Candidate as Candidate
from iclgd.analysis.learners import candidate_learners as candidate_learners
from iclgd.analysis.resampling import MeanInterval, percentiles, resample
from iclgd.analysis.sensitivity import predict_with_sensitivity
from iclgd.analysis.subject import Subject
from iclgd.data import RegressionBatch, RegressionTask
from iclgd.data.seeding import named_generator
from iclgd.models import Predictor
from iclgd.models.transformer import Transformer

OWN_DISTANCE = 0.2  # of the nearest learner's distance to the model: learners that near to each other are one
RESOLUTION = 1e-3  # of the model's sensitivity: a smaller difference is none
# Of the model's sensitivity: the largest distance at which a learner is near to it. The square, 4 %, is the share of
# the model's sensitivity that is not the learner's.
NEAR = 0.2
NONE_IS_NEAR = "none is near"
NOT_A_NUMBER = "none (not a number)"
MEASURES = ("prediction_l2", "sensitivity_l2", "sensitivity_cosine")


class Answers(NamedTuple):
    """What a learner makes of B tasks."""

    prediction: Tensor  # (B, O)
    sensitivity: Tensor  # (B, O, D)


@dataclass(frozen=True)
class Verdict:
    """The learner that a model has become, as far as the tasks can tell.

    Attributes:
        learner: the simplest among the nearest and those that cannot be told from it.
        is_near: whether the nearest one's distance is at most 20 % of ``sensitivity_norm``: if not, the model has
            become none of the learners.
        nearest: the learner with the smallest mean distance between sensitivities.
        indistinguishable: the others that cannot be told from the nearest, the simplest first.
        distance: the nearest learner's mean distance.
        distance_low: lower end of its 95 % interval.
        distance_high: upper end of its 95 % interval.
        share_nearest: share of the resamples in which the nearest learner is nearest too.
        sensitivity_norm: mean norm of the model's sensitivity, to judge the distance by.
    """

    learner: str
    is_near: bool
    nearest: str
    indistinguishable: tuple[str, ...]
    distance: float
    distance_low: float
    distance_high: float
    share_nearest: float
    sensitivity_norm: float


class AlgorithmComparison(NamedTuple):
    """A model beside every candidate."""

    estimates: dict[str, dict[str, MeanInterval]]  # learner -> measure -> estimate
    verdict: Verdict


def answer(predictor: Predictor, batch: RegressionBatch) -> Answers:
    """Return a predictor's predictions and sensitivities on a batch, in double precision."""
    prediction, sensitivity = predict_with_sensitivity(predictor, batch.x, batch.y, batch.query)
    return Answers(prediction.double(), sensitivity.double())


def nearest_algorithm(
    model: Answers,
    candidates: Mapping[str, Candidate],
    answers: Mapping[str, Answers],
    num_resamples: int,
    generator: torch.Generator,
) -> AlgorithmComparison:
    """Compare a model with every candidate and name the one that it is.

    A candidate cannot be told from the nearest one if the 95 % interval of the difference of their distances to the
    model contains 0; or if the two are nearer to each other than 20 % of the nearest one's distance to the model, or
    than 0.1 % of the model's mean sensitivity. Of these and the nearest the simplest is named: the one with fewest
    parameters, and among equals the one with the smallest distance. A model that is not a number on some task is none.

    Args:
        model: the model's answers.
        candidates: the learners by name.
        answers: the learners' answers by name, on the same tasks: see :func:`answer`.
        num_resamples: number of resamples of the tasks, R; some hundred. R x B numbers are held in memory.
        generator: of the resamples; on the CPU.

    Returns:
        The estimates and the verdict.

    Raises:
        ValueError: if a learner's answers and the model's differ in shape.
    """
    weights = resample(len(model.prediction), num_resamples, generator).to(model.prediction)
    measured = torch.stack([_distances(model, answers[name]) for name in candidates])  # (L, 3, B)
    means, resampled = measured.mean(-1), measured @ weights.T  # (L, 3), (L, 3, R)
    low, high = percentiles(resampled)
    numbers = torch.stack([means, low, high], -1).tolist()
    estimates = {
        name: {measure: MeanInterval(*row) for measure, row in zip(MEASURES, rows, strict=True)}
        for name, rows in zip(candidates, numbers, strict=True)
    }
    distances = dict(zip(candidates, resampled[:, MEASURES.index("sensitivity_l2")], strict=True))
    return AlgorithmComparison(estimates, _verdict(model, candidates, answers, estimates, distances))


def algorithms_by_layer(
    layers: Sequence[Predictor],
    candidates: Mapping[str, Candidate],
    batch: RegressionBatch,
    num_resamples: int,
    generator: torch.Generator,
) -> dict[str, Any]:
    """Compare every layer's prediction with every candidate.

    Args:
        layers: for each layer the model cut after it.
        candidates: the learners by name, fitted on other tasks: see :func:`candidate_learners`.
        batch: the tasks to compare on.
        num_resamples: as in :func:`nearest_algorithm`.
        generator: as in :func:`nearest_algorithm`.

    Returns:
        Plain numbers, strings, lists and dictionaries: ``rows``, one for each layer (from 1) and learner, with
        ``layer``, ``learner``, ``num_parameters`` and for each measure M of ``prediction_l2``, ``sensitivity_l2`` and
        ``sensitivity_cosine`` M, ``M_low`` and ``M_high``; and ``verdicts``, one for each layer, with ``layer`` and
        what :class:`Verdict` holds, where ``learner`` is "none is near" if none is, and ``simplest`` is then what it
        would have been.

    Example:
        >>> from iclgd.data import LinearRegressionTask
        >>> task, generator = LinearRegressionTask(num_context=6, input_dim=3), torch.Generator().manual_seed(0)
        >>> candidates = candidate_learners(task.sample(500, generator), 1, task)
        >>> result = algorithms_by_layer(
        ...     [candidates["gd(1)"].predictor], candidates, task.sample(500, generator), 100, generator
        ... )
        >>> result["verdicts"][0]["learner"], result["verdicts"][0]["indistinguishable"]
        ('gd(1)', ['gd_plus_plus(1)'])
    """
    answers = {name: answer(candidate.predictor, batch) for name, candidate in candidates.items()}
    found = [
        compared(answer(predictor, batch), candidates, answers, layer, num_resamples, generator)
        for layer, predictor in enumerate(layers, start=1)
    ]
    return {"rows": [row for rows, _ in found for row in rows], "verdicts": [verdict for _, verdict in found]}


def compared(
    model: Answers,
    candidates: Mapping[str, Candidate],
    answers: Mapping[str, Answers],
    layer: int,
    num_resamples: int,
    generator: torch.Generator,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Compare a model's answers with those of every candidate, for a record.

    Args:
        model: as in :func:`nearest_algorithm`, and so are the candidates, their answers and the last two.
        candidates: the learners by name.
        answers: of each.
        layer: after which the model is cut, from 1.
        num_resamples: of the tasks.
        generator: of the resamples.

    Returns:
        The rows and the verdict that :func:`algorithms_by_layer` describes.
    """
    estimates, verdict = nearest_algorithm(model, candidates, answers, num_resamples, generator)
    rows: list[dict[str, Any]] = []
    for name, measures in estimates.items():
        row = {"layer": layer, "learner": name, "num_parameters": candidates[name].num_parameters}
        for measure, (mean, low, high) in measures.items():
            row |= {measure: mean, f"{measure}_low": low, f"{measure}_high": high}
        rows.append(row)
    found = {"layer": layer, **asdict(verdict), "indistinguishable": list(verdict.indistinguishable)}
    if not verdict.is_near:
        found |= {"learner": NONE_IS_NEAR if math.isfinite(verdict.distance) else NOT_A_NUMBER}
    return rows, {**found, "simplest": verdict.learner}


def which_algorithm(subjects: Sequence[Subject], num_tasks: int, num_resamples: int) -> dict[str, Any]:
    """Compare every layer of every seed's transformer with every candidate.

    Args:
        subjects: one for each seed, of linear tasks.
        num_tasks: to fit the candidates on, and as many to compare on.
        num_resamples: as in :func:`nearest_algorithm`.

    Returns:
        ``seeds``: for each its ``seed`` and what :func:`algorithms_by_layer` returns.
    """
    found = []
    for subject in subjects:
        depth = subject.transformer.config.num_layers
        bounded = _bounded(subject.references, depth) if subject.transformer.config.clip else {}
        result = compare_layers(
            layers_of(subject.transformer),
            subject.task,
            depth,
            subject.seed,
            num_tasks=num_tasks,
            num_resamples=num_resamples,
            dtype=subject.dtype,
            more=bounded,
        )
        found.append({"seed": subject.seed, **result})
    return {"seeds": found}


def compare_layers(
    layers: Sequence[Predictor],
    task: RegressionTask,
    depth: int,
    seed: int,
    *,
    num_tasks: int,
    num_resamples: int,
    dtype: torch.dtype,
    more: Mapping[str, Candidate] | None = None,
) -> dict[str, Any]:
    """Draw tasks, fit the candidates to some of them, and compare layers on the others.

    Args:
        layers: for each layer the model cut after it.
        task: what the model has learned.
        depth: up to how many steps the candidates have.
        seed: of the tasks and of the resamples.
        num_tasks: to fit the candidates on, and as many to compare on.
        num_resamples: as in :func:`nearest_algorithm`.
        dtype: of the tasks.
        more: candidates beside those of ``LEARNERS``, or in their place.

    Returns:
        What :func:`algorithms_by_layer` returns.
    """
    generator = named_generator(seed, "which_algorithm")
    fitted_on, compared_on = (task.sample(num_tasks, generator, dtype) for _ in range(2))
    candidates = candidate_learners(fitted_on, depth, task) | dict(more or {})
    return algorithms_by_layer(layers, candidates, compared_on, num_resamples, generator)


def layers_of(transformer: Transformer) -> list[Predictor]:
    """Return a transformer cut after each of its layers."""
    return [_after(transformer, layer) for layer in range(1, transformer.config.num_layers + 1)]


def _bounded(references: Mapping[str, nn.Module], depth: int) -> dict[str, Candidate]:
    """Return the GD++ that was tuned with the transformer's bound on activations, which the textbook one has not."""
    reference = references.get("gd_plus_plus")
    if not isinstance(reference, Transformer) or reference.config.num_layers != depth:
        return {}
    num_parameters = 2 * len(reference.layers)
    steps = {f"gd_plus_plus({k} of {depth})": k for k in range(1, depth)} | {f"gd_plus_plus({depth})": depth}
    return {name: Candidate(_after(reference, k), num_parameters) for name, k in steps.items()}


def _after(transformer: Transformer, num_layers: int) -> Predictor:
    return lambda x, y, query: transformer(x, y, query, num_layers=num_layers)


def _verdict(
    model: Answers,
    candidates: Mapping[str, Candidate],
    answers: Mapping[str, Answers],
    estimates: dict[str, dict[str, MeanInterval]],
    resampled: dict[str, Tensor],
) -> Verdict:
    """Name the learner, from the distances between sensitivities and their resamples, (R,) each."""
    distance = {name: measures["sensitivity_l2"] for name, measures in estimates.items()}
    # A learner that is not a number is not near: NaN would be passed over, or win, depending on its place.
    finite = [name for name in candidates if math.isfinite(distance[name].mean)]
    norm = _mean_norm(model.sensitivity)
    if not finite:
        nan = math.nan
        return Verdict(NOT_A_NUMBER, False, NOT_A_NUMBER, (), nan, nan, nan, nan, norm)
    nearest = min(finite, key=lambda name: distance[name].mean)
    resolution = max(OWN_DISTANCE * distance[nearest].mean, RESOLUTION * norm)

    def is_like_the_nearest(name: str) -> bool:
        difference = resampled[name] - resampled[nearest]
        low, high = (end.item() for end in percentiles(difference))
        own_distance = _mean_norm(answers[name].sensitivity - answers[nearest].sensitivity)
        return low <= 0 <= high or own_distance <= resolution

    alike = sorted(
        (name for name in finite if name == nearest or is_like_the_nearest(name)),
        key=lambda name: (candidates[name].num_parameters, distance[name].mean),
    )
    smallest = torch.stack([resampled[name] for name in finite]).amin(0)
    return Verdict(
        learner=alike[0],
        is_near=distance[nearest].mean <= NEAR * norm,
        nearest=nearest,
        indistinguishable=tuple(name for name in alike if name != nearest),
        distance=distance[nearest].mean,
        distance_low=distance[nearest].low,
        distance_high=distance[nearest].high,
        share_nearest=(resampled[nearest] <= smallest).double().mean().item(),
        sensitivity_norm=norm,
    )


def _distances(model: Answers, learner: Answers) -> Tensor:
    """Return each task's measures in the order of ``MEASURES``, (3, B); means over outputs."""
    if (shapes := [t.shape for t in model]) != (others := [t.shape for t in learner]):
        raise ValueError(f"model and learner must answer in one shape, got {shapes} and {others}")
    difference = learner.sensitivity - model.sensitivity
    return torch.stack(
        [
            torch.linalg.vector_norm(learner.prediction - model.prediction, dim=-1),
            torch.linalg.vector_norm(difference, dim=-1).mean(-1),
            F.cosine_similarity(learner.sensitivity, model.sensitivity, dim=-1).mean(-1),
        ]
    )


def _mean_norm(sensitivity: Tensor) -> float:
    norms: Tensor = torch.linalg.vector_norm(sensitivity, dim=-1)
    return norms.mean().item()

"""The metric classes over text models: alone, in parts, merged, in a collection, with intervals."""

import math
import re
from collections.abc import Callable

import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor
from torchmetrics import MetricCollection

from iclgd import metrics
from iclgd.metrics import (
    Accuracy,
    AttentionShare,
    Bootstrap,
    Kendall,
    ModelMean,
    NextTokenOverlap,
    OrderFlips,
    OrderSensitivity,
    QueryMean,
    RandomSimAOU,
    Rec2FTP,
    Resampling,
    SimAM,
    SimAMDelta,
    SimAOU,
    TopKRecall,
    TotalVariation,
    UpdateSimilarity,
    WilsonInterval,
)
from iclgd.metrics.accuracy import Share
from iclgd.metrics.mean import Interval

B, L, R = 64, 3, 40


def numbers(*shape: int) -> list[Tensor]:
    return list(torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))


def answers(number: int) -> list[Tensor]:
    return [each > 0 for each in numbers(number, B)]


def mask() -> Tensor:
    lengths = 1 + torch.arange(B) % 6
    return torch.arange(6) < lengths[:, None]


Case = tuple[Callable[[], QueryMean | Share], list[Tensor], Callable[..., Tensor]]


def share(correct: Tensor) -> Tensor:
    return correct.double()


def percentage(zero_shot: Tensor, in_context: Tensor, finetuned: Tensor) -> Tensor:
    return 100 * in_context[~zero_shot & finetuned].double()


def recall(first: Tensor, second: Tensor) -> Tensor:
    return metrics.top_k_recall(first, second, 4)


def overlap(first: Tensor, second: Tensor) -> Tensor:
    return metrics.next_token_overlap(first, second, 4)[:, None]


def variation(first: Tensor, second: Tensor) -> Tensor:
    return metrics.total_variation(first, second)[:, None]


def sensitivity(log_probabilities: Tensor) -> Tensor:
    return metrics.order_sensitivity(log_probabilities)[:, None]


def flips(choices: Tensor) -> Tensor:
    return metrics.order_flips(choices)[:, None]


CASES: dict[str, Case] = {
    "Accuracy": (Accuracy, answers(1), share),
    "Rec2FTP": (Rec2FTP, answers(3), percentage),
    "SimAOU": (lambda: SimAOU(L), numbers(3, B, L, 5), metrics.sim_aou),
    "RandomSimAOU": (lambda: RandomSimAOU(L), numbers(3, B, L, 5), metrics.random_sim_aou),
    "SimAM": (lambda: SimAM(L), [*numbers(2, B, L, 2, 6), mask()], metrics.sim_am),
    "SimAMDelta": (lambda: SimAMDelta(L), [*numbers(3, B, L, 2, 6), mask()], metrics.sim_am_delta),
    "UpdateSimilarity": (lambda: UpdateSimilarity(L), numbers(2, B, L, 2, 5), metrics.update_similarity),
    "AttentionShare": (lambda: AttentionShare(L), [torch.stack(numbers(B, L)).sigmoid()], Tensor.double),
    "Kendall": (lambda: Kendall(L), numbers(2, B, L, 9), metrics.kendall_tau),
    "TopKRecall": (lambda: TopKRecall(L, k=4), numbers(2, B, L, 9), recall),
    "NextTokenOverlap": (lambda: NextTokenOverlap(k=4), [each.log_softmax(-1) for each in numbers(2, B, 30)], overlap),
    "OrderSensitivity": (OrderSensitivity, [torch.stack(numbers(B, 4, 30)).log_softmax(-1)], sensitivity),
    "OrderFlips": (OrderFlips, [torch.stack(numbers(4, B, 3)).argmax(-1).T], flips),
    "TotalVariation": (TotalVariation, [each.log_softmax(-1) for each in numbers(2, B, 30)], variation),
}
OF_MODELS = {name for name, (make, *_) in CASES.items() if isinstance(make(), ModelMean)}
names = pytest.mark.parametrize("name", CASES)
of_layers = pytest.mark.parametrize("name", [name for name in CASES if name not in ("Accuracy", "Rec2FTP", *OF_MODELS)])


def wrapped(name: str) -> Interval:
    metric = CASES[name][0]()
    return Bootstrap(metric, Resampling(R)) if isinstance(metric, QueryMean) else WilsonInterval(metric)


def add(metric: Interval, inputs: list[Tensor], places: Tensor) -> None:
    """Add the queries at some places."""
    batch = [each[places] for each in inputs]
    if isinstance(metric, Bootstrap):
        metric.update(*batch, indices=places)
    else:
        metric.update(*batch)


def measured(name: str, rows: slice = slice(0, B), batch_size: int = B) -> Interval:
    metric = wrapped(name)
    for places in torch.arange(B)[rows].split(batch_size):
        add(metric, CASES[name][1], places)
    return metric


@names
def test_a_metric_is_the_mean_of_its_pure_function(name: str) -> None:
    make, inputs, function = CASES[name]
    metric = make()
    for places in torch.arange(B).split(9):
        metric.update(*(each[places] for each in inputs))
    expected = function(*inputs).mean(0).squeeze()  # of one layer it is a number
    assert metric.compute().dtype == torch.float64
    torch.testing.assert_close(metric.compute(), expected, rtol=0, atol=1e-12)


@names
def test_a_wrapper_adds_the_mean_over_layers_and_an_interval(name: str) -> None:
    _, inputs, function = CASES[name]
    means = function(*inputs).mean(0)
    rows = measured(name).compute()
    expected = [means.item()] if means.dim() == 0 else [*means.tolist(), means.mean().item()]
    assert rows.shape == ((3,) if means.dim() == 0 else (len(means) + 1, 3))
    rows = rows.view(-1, 3)
    assert rows.dtype == torch.float64
    assert rows[:, 0].tolist() == pytest.approx(expected, abs=1e-12)
    assert (rows[:, 1] <= rows[:, 0]).all()
    assert (rows[:, 0] <= rows[:, 2]).all()
    assert (rows[:, 1] < rows[:, 2]).all()


@names
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_metrics_do_not_depend_on_the_batch_size(name: str, batch_size: int) -> None:
    parts = measured(name, batch_size=batch_size).compute()
    torch.testing.assert_close(parts, measured(name).compute(), rtol=0, atol=1e-12)


@names
def test_metrics_add_up_over_instances(name: str) -> None:
    metric = measured(name, slice(0, 20))
    metric.merge_state(measured(name, slice(20, B)))
    torch.testing.assert_close(metric.compute(), measured(name).compute(), rtol=0, atol=1e-12)


def test_metrics_live_in_a_collection() -> None:
    arguments = dict(zip(("zero_shot", "in_context", "finetuned"), numbers(3, B, L, 5), strict=True))
    arguments["updates"] = numbers(4, B, L, 5)[3]
    apart = {name: measured(name).compute() for name in ("SimAOU",)}
    collection = MetricCollection({"sim_aou": SimAOU(L), "random": RandomSimAOU(L)}, prefix="text/")
    for places in torch.arange(B).split(7):
        collection.update(**{name: each[places] for name, each in arguments.items()})
    found = collection.compute()
    assert found.keys() == {"text/sim_aou", "text/random"}
    torch.testing.assert_close(found["text/sim_aou"], apart["SimAOU"][:-1, 0], rtol=0, atol=1e-12)
    intervals = MetricCollection({"sim_aou": wrapped("SimAOU"), "again": wrapped("SimAOU")})
    intervals.update(*CASES["SimAOU"][1])
    assert torch.equal(intervals.compute()["again"], apart["SimAOU"])
    assert collection.clone().compute().keys() == found.keys()


def test_measures_that_begin_alike_stay_apart_in_a_collection() -> None:
    outputs, changed, finetuned = numbers(3, B, L, 5)
    collection = MetricCollection(
        {
            "sim_aou": SimAOU(L),
            "random": RandomSimAOU(L),
            "interval": wrapped("SimAOU"),
            "other": wrapped("RandomSimAOU"),
        }
    )
    collection.update(outputs, outputs, finetuned)  # no update at all: both are 0
    collection.update(outputs, changed, finetuned)
    found = collection.compute()
    expected = [
        torch.cat([torch.zeros(B, L), each(outputs, changed, finetuned)]).mean(0)
        for each in (metrics.sim_aou, metrics.random_sim_aou)
    ]
    for names_of, value in ((("sim_aou", "interval"), expected[0]), (("random", "other"), expected[1])):
        torch.testing.assert_close(found[names_of[0]], value, rtol=0, atol=1e-12)
        torch.testing.assert_close(found[names_of[1]][:-1, 0], value, rtol=0, atol=1e-12)
    ranks = MetricCollection({"first": TopKRecall(L, k=1), "all": TopKRecall(L, k=9)})
    same, other = numbers(2, B, L, 9)
    ranks.update(same, same)
    ranks.update(same, other)
    assert (ranks.compute()["first"] < ranks.compute()["all"]).all()


@names
def test_single_precision_and_gradients_are_taken(name: str) -> None:
    inputs = [each.float().requires_grad_() if each.dtype == torch.float64 else each for each in CASES[name][1]]
    metric = wrapped(name)
    add(metric, inputs, torch.arange(B))
    assert not metric.compute().requires_grad
    torch.testing.assert_close(metric.compute(), measured(name).compute(), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
@names
def test_an_empty_set_is_nan(name: str) -> None:
    assert CASES[name][0]().compute().isnan().all()
    assert wrapped(name).compute().isnan().all()


def test_recall_is_nan_if_finetuning_puts_nothing_right() -> None:
    metric, wrong, right = WilsonInterval(Rec2FTP()), torch.zeros(4, dtype=torch.bool), torch.ones(4, dtype=torch.bool)
    metric.update(wrong, right, wrong)
    metric.update(right, right, right)
    assert metric.compute().isnan().all()
    metric.update(wrong[:1], right[:1], right[:1])
    assert metric.compute().tolist() == pytest.approx([100, 20.6549, 100], abs=1e-4)  # of one query


@pytest.mark.parametrize(("num_right", "num"), [(0, 1), (1, 1), (1, 2), (3, 7), (64, 64), (0, 64), (1234, 2000)])
def test_intervals_of_shares_are_wilsons(num_right: int, num: int) -> None:
    interval = binomtest(num_right, num).proportion_ci(0.95, "wilson")
    expected = [num_right / num, interval.low, interval.high]
    right = torch.arange(num) < num_right
    accuracy, recall = WilsonInterval(Accuracy()), WilsonInterval(Rec2FTP())
    accuracy.update(right)
    recall.update(torch.zeros_like(right), right, torch.ones_like(right))
    assert accuracy.compute().tolist() == pytest.approx(expected, abs=1e-14)
    assert recall.compute().tolist() == pytest.approx([100 * each for each in expected], abs=1e-12)


def test_what_is_no_answer_is_neither_right_nor_wrong() -> None:
    right = torch.tensor([1.0, math.nan, 0.0, 1.0])
    accuracy = WilsonInterval(Accuracy())
    accuracy.update(right)
    assert accuracy.compute().isnan().all()
    recall = Rec2FTP()
    recall.update(torch.tensor([0.0, 1.0, 0.0, 0.0]), right, torch.tensor([1.0, 1.0, 1.0, 1.0]))
    assert recall.compute().item() == pytest.approx(200 / 3)  # which does not rest on the answer that is missing
    for which in range(3):
        unknown = [torch.tensor([0.0, 0.0]), torch.tensor([1.0, 1.0]), torch.tensor([1.0, 1.0])]
        unknown[which] = torch.tensor([float(unknown[which][0]), math.nan])
        metric = WilsonInterval(Rec2FTP())
        metric.update(*unknown)
        assert metric.compute().isnan().all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@of_layers
def test_one_number_that_is_not_finite_makes_the_mean_nan(name: str, value: float) -> None:
    inputs = [each.clone() for each in CASES[name][1]]
    inputs[0][-1, 1].view(-1)[0] = value
    if name in ("Kendall", "TopKRecall"):  # of ranks, which infinity has, too
        inputs[0][-1, 1] = math.nan
    metric = wrapped(name)
    for places in torch.arange(B).split(7):
        add(metric, inputs, places)
    assert metric.compute().isnan().all(-1).tolist() == [False, True, False, True]  # its layer, and the mean over all


def test_a_cosine_with_numbers_that_are_not_finite_is_nan() -> None:
    bad = torch.tensor([[math.nan, 0.0], [math.inf, 1.0], [math.nan, math.nan], [-math.inf, math.inf]])
    for other in (torch.zeros(4, 2), torch.ones(4, 2), bad):
        assert metrics.cosine(bad, other).isnan().all()
        assert metrics.cosine(other, bad).isnan().all()


def test_perfect_similarity_is_one() -> None:
    outputs, changed = numbers(2, B, L, 5)
    metric = Bootstrap(SimAOU(L), Resampling(R))
    metric.update(outputs, changed, changed)
    torch.testing.assert_close(metric.compute(), torch.ones(L + 1, 3, dtype=torch.float64), rtol=0, atol=1e-12)


@of_layers
def test_wrong_layouts_are_refused(name: str) -> None:
    make, inputs, _ = CASES[name]
    axes = {2: "(B, L)", 3: "(B, L, C)", 4: "(B, L, H, T)"}[inputs[0].dim()]
    axes = {"Kendall": "(B, L, N)", "TopKRecall": "(B, L, N)", "UpdateSimilarity": "(B, L, H, E)"}.get(name, axes)
    letters = re.findall("[A-Z]", axes)
    shape = tuple(inputs[0].shape)
    tensors = re.compile(r"^(first|second|zero_shot|in_context|finetuned|updates|share) must have shape ")

    def refused(*arguments: object) -> str:
        for metric in (make(), wrapped(name)):
            with pytest.raises(ValueError) as error:
                metric.update(*arguments)
            assert metric.count == 0
        message = str(error.value)
        assert "\n" not in message
        return message

    known = f"({', '.join([letters[0], str(L), *letters[2:]])})"
    for bad in (inputs[0].transpose(0, 1), inputs[0][:, :2], inputs[0][0], inputs[0][None]):
        message = refused(bad, *inputs[1:])
        assert tensors.match(message)
        assert message.endswith(f" must have shape {axes} = {known}, got {tuple(bad.shape)}")
    for bad in (part for second in inputs[1:2] for part in (second[:5], second[..., :-1])):
        message = refused(inputs[0], bad, *inputs[2:])
        assert tensors.match(message)
        assert message.endswith(f" must have shape {axes} = {shape}, got {tuple(bad.shape)}")
    assert refused(inputs[0].numpy(), *inputs[1:]).endswith(" must be a tensor, got ndarray")


def test_errors_are_one_line() -> None:
    three, four = torch.ones(3, dtype=torch.bool), torch.ones(4, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"^correct must be boolean, got torch.int64$"):
        Accuracy().update(three.long())
    with pytest.raises(ValueError, match=r"^correct must have shape \(B,\), got \(1, 3\)$"):
        WilsonInterval(Accuracy()).update(three[None])
    with pytest.raises(ValueError, match=r"^finetuned_correct must have shape \(B,\) = \(3,\), got \(4,\)$"):
        Rec2FTP().update(three, three, four)
    with pytest.raises(ValueError, match=r"^in_context must have shape \(B, L, N\) = \(B, 2, N\), got \(64, 3, 9\)$"):
        Kendall(2).update(*CASES["Kendall"][1])
    with pytest.raises(ValueError, match=r"^k must be at least 1, got 0$"):
        TopKRecall(1, k=0)
    with pytest.raises(TypeError, match="finetuned"):
        SimAOU(1).update(torch.ones(2, 1, 3), torch.ones(2, 1, 3))

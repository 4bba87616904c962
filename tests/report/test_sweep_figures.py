"""Figures of sweeps: what is drawn where."""

import math
import warnings

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from iclgd.report.figures import image
from iclgd.report.sweep_figures import Point, Value, metric_by

RATES = (0.001, 0.003, 0.01, 0.03)


def points(losses: dict[Value, list[float]], key: str = "rate", **others: Value) -> list[Point]:
    return [
        Point({key: value, **others}, seed, loss) for value, of_it in losses.items() for seed, loss in enumerate(of_it)
    ]


def drawn(axes: Axes, marker: str) -> list[tuple[float, float]]:
    """Return what is drawn with a marker, in data's coordinates."""
    lines = [line for line in axes.get_lines() if line.get_marker() == marker and line.get_markersize() == 5]
    return sorted((float(x), float(y)) for line in lines for x, y in line.get_xydata())


def panel(figure: Figure) -> Axes:
    (axes,) = figure.axes
    return axes


def legend(figure: Figure) -> tuple[str, list[str]]:
    if not figure.legends:
        return "", []
    return figure.legends[0].get_title().get_text(), [text.get_text() for text in figure.legends[0].get_texts()]


def test_means_and_intervals_lie_at_their_values() -> None:
    losses: dict[Value, list[float]] = {rate: [0.2 + rate, 0.25, 0.3 - rate] for rate in RATES}
    figure = metric_by("rate", points(losses), "loss", "sweep x: config y; 12 of 12 trials; 3 seeds a setting")
    axes = panel(figure)
    assert drawn(axes, "o") == [pytest.approx((rate, np.mean(losses[rate]))) for rate in RATES]
    bars = [
        line.get_xydata() for line in axes.get_lines() if line.get_marker() == "None" and len(line.get_xdata()) == 2
    ]
    for bar, rate in zip(bars, RATES, strict=True):
        low, high = stats.t.interval(0.95, 2, np.mean(losses[rate]), stats.sem(losses[rate]))
        assert np.asarray(bar) == pytest.approx(np.array([[rate, low], [rate, high]]))
    small = [line for line in axes.get_lines() if line.get_markersize() == 3.5]
    assert [len(line.get_xdata()) for line in small] == [12]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.001", "0.003", "0.01", "0.03"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("rate", "loss")
    assert "sweep x: config y; 12 of 12 trials" in figure.get_suptitle().replace("\n", " ")
    assert legend(figure) == ("", [])


@pytest.mark.parametrize(
    ("values", "scale"),
    [((1, 2, 3, 4), "linear"), ((1, 10, 100), "log"), ((0, 10, 100), "linear"), ((1, 6, 11, 16), "linear")],
)
def test_an_axis_is_logarithmic_where_values_span_decades(values: tuple[int, ...], scale: str) -> None:
    assert panel(metric_by("n", points({value: [1.0] for value in values}, "n"), "loss", "")).get_xscale() == scale


def test_only_losses_have_logarithmic_axes() -> None:
    many = points({1: [1e-4, 2e-4], 2: [0.5, 0.9]})
    assert panel(metric_by("rate", many, "loss", "")).get_yscale() == "log"  # an interval below 0 is cut
    assert panel(metric_by("rate", many, "accuracy", "", is_minimized=False)).get_yscale() == "linear"
    assert panel(metric_by("rate", points({1: [-1.0, 90.0]}), "loss", "")).get_yscale() == "linear"


def test_values_of_other_keys_are_colours_if_they_are_few() -> None:
    few = [point for kind in ("a", "b") for point in points({1: [1.0, 1.1, 1.2], 2: [2.0, 2.1, 2.2]}, kind=kind)]
    figure = metric_by("rate", few, "loss", "")
    axes = panel(figure)
    assert legend(figure) == ("kind", ["a", "b"])
    for marker in "os":
        assert [y for _, y in drawn(axes, marker)] == pytest.approx([1.1, 2.1])
    assert all(first < second for (first, _), (second, _) in zip(drawn(axes, "o"), drawn(axes, "s"), strict=True))
    styles = {(line.get_color(), line.get_linestyle()) for line in axes.get_lines() if len(line.get_xdata()) == 2}
    assert len(styles) >= 2


def test_otherwise_the_mean_is_over_them_seed_by_seed() -> None:
    rng = np.random.default_rng(0)
    losses = rng.normal(size=(2, 8, 3))  # rates x others x seeds
    many = [
        Point({"rate": rate, "other": other}, seed, float(losses[rate, other, seed]))
        for rate in range(2)
        for other in range(8)
        for seed in range(3)
    ]
    figure = metric_by("rate", many, "loss", "")
    axes = panel(figure)
    assert drawn(axes, "o") == [pytest.approx((rate, losses[rate].mean())) for rate in range(2)]
    of_seeds = losses[0].mean(0)
    low, high = stats.t.interval(0.95, 2, of_seeds.mean(), stats.sem(of_seeds))
    bars = [line.get_ydata() for line in axes.get_lines() if list(line.get_xdata()) == [0, 0]]
    assert list(bars[0]) == pytest.approx([low, high])
    assert legend(figure) == ("means over other", [])
    unequal = panel(metric_by("rate", many[:-1], "loss", ""))  # a seed is missing: of rate 1 there is no interval
    assert not [line for line in unequal.get_lines() if list(line.get_xdata()) == [1, 1]]
    assert len(drawn(unequal, "o")) == 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_a_cross_and_has_no_mean(value: float) -> None:
    figure = metric_by("rate", points({1: [1.0, value, 1.1], 2: [2.0, 2.1, 2.2], 3: [3.0]}), "loss", "")
    axes = panel(figure)
    assert [x for x, _ in drawn(axes, "o")] == [2, 3]
    assert len(drawn(axes, "x")) == 1
    assert legend(figure)[1] == ["not finite", "hollow: fewer seeds"]
    hollow = [line for line in axes.get_lines() if line.get_markerfacecolor() == "white"]
    assert [list(line.get_xdata()) for line in hollow] == [[3.0]]
    assert image(metric_by("rate", points({1: [value], 2: [value]}), "loss", ""), "png")


def test_an_interval_that_leaves_the_axis_says_so() -> None:
    figure = metric_by("rate", points({1: [1.0, 1.3], 2: [1.1, 1.12]}), "loss", "")
    bottom, top = panel(figure).get_ylim()
    assert 0.5 < bottom < 0.9
    assert 1.4 < top < 1.7
    assert legend(figure)[1] == ["interval goes on"]


def test_many_numbers_are_points_alone() -> None:
    rng = np.random.default_rng(0)
    drawn_rates = [Point({"rate": 10**power}, 0, power**2) for power in rng.uniform(-4, -1, 30)]
    axes = panel(metric_by("rate", drawn_rates, "loss", ""))
    (line,) = axes.get_lines()
    assert len(line.get_xdata()) == 30
    assert axes.get_xscale() == "log"


def test_categories_are_names_whatever_they_hold() -> None:
    names = ["<b>$x$", "a\nb", "long" * 2500, "\u05d0\u05d1", "null"]
    figure = metric_by("kind", points({name: [1.0, 2.0] for name in names}, "kind"), "a_$b$", "$title$")
    axes = panel(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        assert image(figure, "svg").startswith(b"<?xml")
    shown = [tick.get_text() for tick in axes.get_xticklabels()]
    assert shown == [r"<b>\$x\$", "a?b", "longlonglonglonglon...", "\u05d0\u05d1", "null"]
    assert [x for x, _ in drawn(axes, "o")] == [0, 1, 2, 3, 4]

"""Figures of analyses."""

import json
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.lines import Line2D
from scipy.stats import gmean, gstd

from iclgd.report.algorithm_figures import COLOURS, MOST_PANELS, NUM_LEARNERS, algorithms
from iclgd.report.function_figures import functions
from iclgd.report.results import Results
from iclgd.report.shift_figures import iterated, out_of_distribution
from tests.report.records import ALGORITHMS, FUNCTIONS, SHIFTS


def test_every_shift_has_a_panel_with_every_learner() -> None:
    figure = out_of_distribution(SHIFTS, Results())
    assert figure is not None
    ranges, distributions, condition = figure.axes
    transformer, gd, interpolated = ranges.get_lines()
    assert list(transformer.get_xdata()) == [0.5, 1.0, 2.0]
    assert list(transformer.get_ydata()) == pytest.approx(np.sqrt([0.1 * 0.3, 0.2 * 0.4, 90 * 110]))  # on a log axis
    assert list(gd.get_ydata()) == pytest.approx([0.2, 0.3, 0.4])
    assert interpolated.get_ydata() == pytest.approx([0.1, 0.2, np.nan], nan_ok=True)
    assert (ranges.get_yscale(), ranges.get_xscale()) == ("log", "linear")
    assert (condition.get_yscale(), condition.get_xscale()) == ("linear", "log")
    assert [text.get_text() for text in distributions.get_xticklabels()] == ["uniform", "normal"]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["trained transformer", "gradient descent", "mean of both weights"]


def test_words_have_points_with_bars_and_no_line() -> None:
    figure = out_of_distribution({"distribution": SHIFTS["distribution"]}, Results())
    assert figure is not None
    (axes,) = figure.axes
    points = axes.get_lines()[0]
    assert points.get_linestyle() == "None"
    assert list(points.get_ydata()) == pytest.approx([0.2, 0.3])
    (bars,) = axes.containers
    (segment, _) = bars.lines[2][0].get_segments()  # type: ignore[attr-defined]
    assert segment[:, 1] == pytest.approx(0.2 + np.sqrt(0.02) * np.array([-1, 1]))
    assert "loss" in figure.get_supylabel()


def test_on_a_logarithmic_axis_the_band_is_a_ratio_to_the_geometric_mean() -> None:
    shift = {"values": [1.0, 2.0], "losses": {"transformer": [[0.1, 0.1], [0.1, 100.0], [0.1, 10.0]]}}
    figure = out_of_distribution({"weight_scale": shift}, Results())
    assert figure is not None
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    low, high = band_at(axes, 2.0)
    middle, factor = gmean([0.1, 100.0, 10.0]), gstd([0.1, 100.0, 10.0])
    assert axes.get_lines()[0].get_ydata()[1] == pytest.approx(middle)
    assert (low, high) == pytest.approx((middle / factor, middle * factor))
    assert band_at(axes, 1.0) == pytest.approx((0.1, 0.1))
    assert "geometric mean of 3 seeds" in figure.legends[0].get_title().get_text()


def band_at(axes: Axes, x: float) -> tuple[float, float]:
    """Return the ends of a figure's first band at a place."""
    corners = np.asarray(axes.collections[0].get_paths()[0].vertices)
    there = corners[corners[:, 0] == x, 1]
    return float(there.min()), float(there.max())


def test_a_loss_that_is_not_positive_leaves_a_gap_on_a_logarithmic_axis() -> None:
    shift = {"values": [1.0, 2.0, 3.0], "losses": {"transformer": [[0.1, 0.0, 100.0], [0.1, 0.2, 100.0]]}}
    figure = out_of_distribution({"weight_scale": shift}, Results())
    assert figure is not None
    (line,) = figure.axes[0].get_lines()
    assert line.get_ydata() == pytest.approx([0.1, np.nan, 100.0], nan_ok=True)


TASK = {"input_range": 1.0, "weight_scale": 1.0, "distribution": "uniform", "normalize": False, "num_context": 10}
TASK |= {"covariance": "isotropic", "condition_number": 7.0}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [[1.0], [0], [1.0]]),
        ({"input_range": 5.0}, [[], [0], [1.0]]),  # the panel does not reach it
        ({"distribution": "mixture"}, [[1.0], [], [1.0]]),
        ({"covariance": "rotated"}, [[1.0], [0], [7.0]]),
        ({"covariance": "diagonal"}, [[1.0], [0], []]),
    ],
)
def test_a_line_marks_the_value_of_training(changes: dict[str, Any], expected: list[list[float]]) -> None:
    figure = out_of_distribution(SHIFTS, Results(config={"task": TASK | changes}))
    assert figure is not None
    marked = [[float(line.get_xdata()[0]) for line in vertical(axes)] for axes in figure.axes]
    assert marked == expected
    assert "in training" in [text.get_text() for text in figure.legends[0].get_texts()]


def vertical(axes: Axes) -> list[Line2D]:
    return [line for line in axes.get_lines() if list(line.get_ydata()) == [0, 1] and len(set(line.get_xdata())) == 1]


def test_the_mixed_distributions_are_those_of_training_where_training_has_them() -> None:
    shift = {"mixture_input_range": SHIFTS["input_range"]}
    for changes, number in (({}, 0), ({"distribution": "mixture", "normalize": True}, 1)):
        figure = out_of_distribution(shift, Results(config={"task": TASK | changes}))
        assert figure is not None
        assert len(vertical(figure.axes[0])) == number


@pytest.mark.parametrize("last", [0.2, 1e-6])
def test_iterated_shows_means_over_seeds_from_no_application_on(last: float) -> None:
    record = {
        "dampening": 0.75,
        "losses": {"transformer": [[0.4, 0.3, last], [0.6, 0.5, 4 * last]], "gd": [[0.4, 0.2, 0.1]]},
    }
    figure = iterated(record, Results())
    assert figure is not None
    (axes,) = figure.axes
    transformer, gd = axes.get_lines()
    assert axes.get_yscale() == "log"
    middle = np.sqrt([0.4 * 0.6, 0.3 * 0.5, last * 4 * last])
    assert transformer.get_xydata() == pytest.approx(np.array([[0, middle[0]], [1, middle[1]], [2, middle[2]]]))
    assert list(gd.get_ydata()) == [0.4, 0.2, 0.1]
    low, high = band_at(axes, 2.0)
    assert low > 0
    assert middle[2] / low == pytest.approx(high / middle[2])  # nowhere cut


def test_every_layer_shows_its_nearest_learners_and_the_verdict() -> None:
    figure = algorithms({"seeds": ALGORITHMS["seeds"][:1]}, Results())
    assert figure is not None
    first, second = figure.axes
    names = [text.get_text() for text in first.get_yticklabels()]
    assert names[0] == "gd(10)"
    assert set(names) == {f"gd({steps})" for steps in range(4, 16)}
    assert len(names) == NUM_LEARNERS == 12
    widths = [bar.get_width() for bar in first.patches]
    assert widths == sorted(widths)
    assert widths[:2] == [0.5, 1.0]
    assert intervals(first, 0)[:2] == [[0.25, 1.0], [0.75, 1.5]]
    assert named_so(first, 0) == {"gd(9)"}
    assert named_so(first, 1) == {"gd(10)", "gd(11)", "gd(8)", "gd(12)"}
    assert "gd(6)" in named_so(first, 2)
    assert first.get_title(loc="left").startswith("Layer 1: gd(9). Nearest: gd(10), at 0.5")
    assert second.get_title(loc="left").startswith("Layer 2: gd(19). Nearest: gd(19)")


def named_so(axes: Axes, place: int) -> set[str]:
    """Return the learners whose bars have one of the colours."""
    names = [text.get_text() for text in axes.get_yticklabels()]
    colour = to_hex(list(COLOURS.values())[place])
    return {name for name, bar in zip(names, axes.patches, strict=True) if to_hex(bar.get_facecolor()) == colour}


def intervals(axes: Axes, seed: int) -> list[list[float]]:
    """Return the ends of a seed's intervals, of the learners from above on."""
    bars = [each for each in axes.containers if isinstance(each, ErrorbarContainer)]
    return [list(segment[:, 0]) for segment in bars[seed].lines[2][0].get_segments()]


def test_all_seeds_of_a_layer_have_one_panel() -> None:
    other = json.loads(json.dumps(ALGORITHMS["seeds"][1]))
    for row in other["rows"]:
        row |= {key: 2 * row[key] for key in ("sensitivity_l2", "sensitivity_l2_low", "sensitivity_l2_high")}
    other["verdicts"][0] |= {"learner": "gd(12)", "nearest": "gd(12)", "indistinguishable": []}
    figure = algorithms({"seeds": [ALGORITHMS["seeds"][0], other]}, Results())
    assert figure is not None
    first, second = figure.axes
    assert [axes.get_title(loc="left") for axes in (first, second)] == [
        "Layer 1: gd(9) in 1 of 2 seeds, gd(12) in 1.",
        "Layer 2: gd(19) in 2 of 2 seeds.",
    ]
    assert [bar.get_width() for bar in first.patches[:2]] == [0.75, 1.5]  # means
    assert intervals(first, 0)[0] == [0.25, 1.0]
    assert intervals(first, 1)[0] == [0.5, 2.0]
    points = [line for line in first.get_lines() if line.get_marker() == "."]
    assert [line.get_xdata()[0] for line in points] == [0.5, 1.0]
    assert len({line.get_ydata()[0] for line in points}) == 2  # side by side
    assert named_so(first, 0) == {"gd(9)", "gd(12)"}


def test_a_single_seed_needs_no_name_and_none_is_near_is_said() -> None:
    seed = ALGORITHMS["seeds"][0]
    verdict = {**seed["verdicts"][0], "learner": "none is near"}
    figure = algorithms({"seeds": [{**seed, "verdicts": [verdict]}]}, Results())
    assert figure is not None
    title = figure.axes[0].get_title(loc="left").replace("\n", " ")  # a single panel has short lines
    assert title.startswith("Layer 1: none is near. Nearest: gd(10), at 0.5")
    colours = {to_hex(bar.get_facecolor()) for bar in figure.axes[0].patches}
    assert COLOURS["named: the simplest of the nearest"] not in colours


def test_an_image_has_no_more_panels_than_can_be_shown() -> None:
    seed = ALGORITHMS["seeds"][0]
    rows = [{**row, "layer": layer} for layer in range(80) for row in seed["rows"] if row["layer"] == 1]
    verdicts = [{**seed["verdicts"][0], "layer": layer} for layer in range(80)]
    figure = algorithms({"seeds": [{"seed": 0, "rows": rows, "verdicts": verdicts}]}, Results())
    assert figure is not None
    assert len(figure.axes) == MOST_PANELS == 24
    assert figure.get_suptitle().startswith("the first 24 of 80 layers")


def test_the_named_learner_is_shown_even_if_many_are_nearer() -> None:
    seed = ALGORITHMS["seeds"][0]
    verdict = {**seed["verdicts"][0], "learner": "gd(0)", "indistinguishable": ["gd(0)"]}
    figure = algorithms({"seeds": [{**seed, "verdicts": [verdict]}]}, Results())
    assert figure is not None
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(names) == NUM_LEARNERS + 1
    assert names[-1] == "gd(0)"


def test_functions_show_context_target_and_predictions_and_one_panel_kernels() -> None:
    figure = functions(FUNCTIONS, Results())
    assert figure is not None
    first, second, kernels = figure.axes
    lines = {str(line.get_label()): line for line in second.get_lines()}
    assert list(lines["true function"].get_ydata()) == [2.0, 0.5, -2.0]
    assert list(lines["trained transformer, after"].get_ydata()) == [2.0, 0.0, -2.0]
    assert list(lines["context"].get_xdata()) == [-0.5, 0.5]
    assert len(lines) == len(first.get_lines()) == 6
    assert [axes.get_title() for axes in (first, second)] == ["function 1", "function 2"]
    before, after = (lines[f"MLP + gradient descent, {when}"].get_linewidth() for when in ("before", "after"))
    assert before < after
    transformer, mlp, place = kernels.get_lines()
    assert transformer.get_linewidth() == mlp.get_linewidth() == after  # a width means the same in all panels
    assert list(transformer.get_ydata()) == [0.25, -1.0, 0.5]
    assert list(mlp.get_ydata()) == [0.0, 0.0, 0.0]
    assert list(place.get_xdata()) == [-0.5, -0.5]

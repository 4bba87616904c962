import numpy as np
import pytest
from matplotlib.colors import to_hex

from iclgd.report.algorithm_figures import COLOURS, MOST_PANELS, NUM_LEARNERS, algorithms
from iclgd.report.function_figures import functions
from iclgd.report.shift_figures import iterated, out_of_distribution
from tests.report.records import ALGORITHMS, FUNCTIONS, ITERATED, SHIFTS


def test_every_shift_has_a_panel_with_every_learner() -> None:
    figure = out_of_distribution(SHIFTS)
    assert figure is not None
    ranges, distributions, condition = figure.axes
    transformer, gd, interpolated = ranges.get_lines()
    assert list(transformer.get_xdata()) == [0.5, 1.0, 2.0]
    assert list(transformer.get_ydata()) == pytest.approx([0.2, 0.3, 100.0])
    assert list(gd.get_ydata()) == pytest.approx([0.2, 0.3, 0.4])
    assert interpolated.get_ydata() == pytest.approx([0.1, 0.2, np.nan], nan_ok=True)
    assert (ranges.get_yscale(), ranges.get_xscale()) == ("log", "linear")
    assert (condition.get_yscale(), condition.get_xscale()) == ("linear", "log")
    assert [text.get_text() for text in distributions.get_xticklabels()] == ["uniform", "normal"]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["trained transformer", "gradient descent", "mean of both weights"]


def test_words_have_points_with_bars_and_no_line() -> None:
    figure = out_of_distribution({"distribution": SHIFTS["distribution"]})
    assert figure is not None
    (axes,) = figure.axes
    points = axes.get_lines()[0]
    assert points.get_linestyle() == "None"
    assert list(points.get_ydata()) == pytest.approx([0.2, 0.3])
    (bars,) = axes.containers
    (segment, _) = bars.lines[2][0].get_segments()  # type: ignore[attr-defined]
    assert segment[:, 1] == pytest.approx(0.2 + np.sqrt(0.02) * np.array([-1, 1]))
    assert "loss" in axes.get_ylabel()


def test_a_band_of_losses_stays_positive() -> None:
    shift = {"values": [1.0, 2.0], "losses": {"transformer": [[0.1, 0.1], [0.1, 100.0]]}}
    figure = out_of_distribution({"weight_scale": shift})
    assert figure is not None
    band = np.asarray(figure.axes[0].collections[0].get_paths()[0].vertices)
    assert band[:, 1].min() == pytest.approx(0.1)


def test_iterated_shows_means_over_seeds_from_no_application_on() -> None:
    figure = iterated(ITERATED)
    assert figure is not None
    transformer, gd = figure.axes[0].get_lines()
    assert transformer.get_xydata() == pytest.approx(np.array([[0, 0.5], [1, 0.4], [2, 0.3]]))
    assert list(gd.get_ydata()) == [0.4, 0.2, 0.1]


def test_every_layer_shows_its_nearest_learners_and_the_verdict() -> None:
    figure = algorithms(ALGORITHMS)
    assert figure is not None
    first, second, *other_seed = figure.axes
    names = [text.get_text() for text in first.get_yticklabels()]
    assert names[0] == "gd(10)"
    assert set(names) == {f"gd({steps})" for steps in range(4, 16)}
    assert len(names) == NUM_LEARNERS == 12
    widths = [bar.get_width() for bar in first.patches]
    assert widths == sorted(widths)
    assert widths[:2] == [0.5, 1.0]
    colours = dict(zip(names, (to_hex(bar.get_facecolor()) for bar in first.patches), strict=True))
    named, alike, other = COLOURS.values()
    assert {name for name, colour in colours.items() if colour == named} == {"gd(9)"}
    assert {name for name, colour in colours.items() if colour == alike} == {"gd(10)", "gd(11)", "gd(8)", "gd(12)"}
    assert colours["gd(6)"] == other
    assert first.get_title(loc="left").startswith("Seed 3. Layer 1: gd(9). Nearest: gd(10), at 0.5")
    assert second.get_title(loc="left").startswith("Seed 3. Layer 2: gd(19). Nearest: gd(19)")
    titles = [axes.get_title(loc="left").split(". Nearest")[0] for axes in other_seed]
    assert titles == ["Seed 4. Layer 1: gd(9)", "Seed 4. Layer 2: gd(19)"]


def test_a_single_seed_needs_no_name_and_none_is_near_is_said() -> None:
    seed = ALGORITHMS["seeds"][0]
    verdict = {**seed["verdicts"][0], "learner": "none is near"}
    figure = algorithms({"seeds": [{**seed, "verdicts": [verdict]}]})
    assert figure is not None
    assert figure.axes[0].get_title(loc="left").startswith("Layer 1: none is near. Nearest: gd(10), at 0.5")
    colours = {to_hex(bar.get_facecolor()) for bar in figure.axes[0].patches}
    assert COLOURS["named: the simplest of the nearest"] not in colours


def test_an_image_has_no_more_panels_than_can_be_shown() -> None:
    seeds = [{**ALGORITHMS["seeds"][0], "seed": seed} for seed in range(40)]
    figure = algorithms({"seeds": seeds})
    assert figure is not None
    assert len(figure.axes) == MOST_PANELS == 24
    assert figure.get_suptitle().startswith("the first 24 of 80 layers")


def test_the_named_learner_is_shown_even_if_many_are_nearer() -> None:
    seed = ALGORITHMS["seeds"][0]
    verdict = {**seed["verdicts"][0], "learner": "gd(0)", "indistinguishable": ["gd(0)"]}
    figure = algorithms({"seeds": [{**seed, "verdicts": [verdict]}]})
    assert figure is not None
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(names) == NUM_LEARNERS + 1
    assert names[-1] == "gd(0)"


def test_functions_show_context_target_and_predictions_and_one_panel_kernels() -> None:
    figure = functions(FUNCTIONS)
    assert figure is not None
    first, second, kernels = figure.axes
    lines = {str(line.get_label()): line for line in second.get_lines()}
    assert list(lines["true function"].get_ydata()) == [2.0, 0.5, -2.0]
    assert list(lines["trained transformer, after"].get_ydata()) == [2.0, 0.0, -2.0]
    assert list(lines["context"].get_xdata()) == [-0.5, 0.5]
    assert len(lines) == len(first.get_lines()) == 6
    before, after = (lines[f"MLP + gradient descent, {when}"].get_linewidth() for when in ("before", "after"))
    assert before < after
    transformer, mlp, place = kernels.get_lines()
    assert list(transformer.get_ydata()) == [0.25, -1.0, 0.5]
    assert list(mlp.get_ydata()) == [0.0, 0.0, 0.0]
    assert list(place.get_xdata()) == [-0.5, -0.5]

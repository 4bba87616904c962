"""The figure of attention to demonstrations."""

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from iclgd.report.attention_figures import attention_to_demonstrations
from iclgd.report.results import Results

SUMMARY = {
    "attention_demonstrations": 0.8,
    "attention_demonstrations_low": 0.7,
    "attention_demonstrations_high": 0.9,
    "attention_demonstrations/layer_00": 0.9,
    "attention_demonstrations/layer_01": 0.7,
    "attention_demonstrations_even": 0.75,
    "attention_demonstrations_even/layer_00": 0.75,
    "attention_demonstrations_even/layer_01": 0.75,
    "attention_right_label": 0.5,
    "attention_right_label/layer_00": 0.4,
    "attention_right_label/layer_01": 0.6,
}
EVEN = {"demonstrations": [[0.25, 0.5], [0.25, 0.5]]}
FIRST = {"attention": {"demonstrations": [[0.5, 0.25], [0.75, 0.0]]}, "even": EVEN}
LONGER = {"attention": {"demonstrations": [[0.25, 0.5, 0.1], [0.0, 0.75, 0.1]]}, "even": EVEN}


def drawn(summary: dict[str, float], *draws: dict[str, Any]) -> Figure | None:
    analyses = {"attention_to_demonstrations": {"draws": list(draws)}} if draws else {}
    figure = attention_to_demonstrations(Results(summary=summary, analyses=analyses))
    if figure is not None:
        figure.draw_without_rendering()
    return figure


def shown_in(axes: Axes) -> list[list[float]]:
    values: list[list[float]] = np.asarray(axes.images[0].get_array()).tolist()
    return values


def titles(figure: Figure | None) -> list[str]:
    assert figure is not None
    return [title for axes in figure.axes if (title := axes.get_title("left"))]


def test_panels_over_layers_and_of_each_demonstration() -> None:
    figure = drawn(SUMMARY, FIRST)
    assert titles(figure) == [
        "Attention of the last token",
        "Of the attention to demonstrations",
        "Each demonstration in each layer",
        "Each demonstration, mean over layers",
    ]
    assert figure is not None
    over_layers, labels, heat, places = figure.axes[:4]
    main, even = over_layers.get_lines()[:2]
    assert list(np.asarray(main.get_ydata())) == [0.9, 0.7]
    assert (even.get_linestyle(), even.get_color()) == (":", main.get_color())
    assert list(np.asarray(labels.get_lines()[0].get_ydata())) == [0.4, 0.6]
    assert shown_in(heat) == [[0.5, 0.25], [0.75, 0.0]]
    assert list(heat.images[0].get_extent()) == [0.5, 2.5, -0.5, 1.5]
    lines = [list(np.asarray(line.get_ydata())) for line in places.get_lines()]
    assert lines == [pytest.approx([0.625, 0.125]), [0.25, 0.5]]
    assert "even attention, its measure's colour" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_draws_are_a_mean_with_a_band_over_what_all_have() -> None:
    figure = drawn(SUMMARY, FIRST, LONGER)
    assert figure is not None
    heat, places = figure.axes[2:4]
    assert shown_in(heat) == [[0.375, 0.375], [0.375, 0.375]]
    band = places.collections[0].get_paths()[0].get_extents()  # 0.625 and 0.125: a deviation of a half over root 2
    assert band.y1 == pytest.approx(0.375 + 0.5 / 2**0.5)
    assert "mean of 2 draws" in figure.legends[0].get_title().get_text()


def test_what_is_there_is_shown() -> None:
    assert titles(drawn({}, FIRST)) == ["Each demonstration in each layer", "Each demonstration, mean over layers"]
    of_layers = {name: value for name, value in SUMMARY.items() if "right" not in name}
    assert titles(drawn(of_layers)) == ["Attention of the last token"]
    assert drawn({"sim_aou": 0.5, "sim_aou/layer_00": 0.5}) is None
    gaps = {"attention": {"demonstrations": [[None, None]]}, "even": {"demonstrations": [[0.5, 0.5]]}}
    assert len(titles(drawn({}, gaps))) == 2

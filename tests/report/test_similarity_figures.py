"""Figures of text runs."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from iclgd.experiments.text import FIGURES
from iclgd.measures import TEXT_METRICS
from iclgd.report.results import Results
from iclgd.report.similarity_figures import accuracy, panels, similarity

VALUES = {
    "sim_aou": [0.1, 0.3],
    "sim_aou_random": [0.02, -0.02],
    "sim_am": [0.5, 0.7],
    "sim_am_zero_shot": [0.4, 0.6],
    "sim_am_delta": [-0.1, 0.1],
    "kendall": [0.2, 0.4],
    "kendall_random": [0.0, 0.01],
    "kendall_examples": [0.6, 0.8],
    "kendall_examples_random": [0.05, -0.05],
    "update_similarity": [0.0, 0.2],
}
ACCURACY = {"accuracy/zero_shot": 0.5, "accuracy/in_context": 0.75, "accuracy/finetuned": 0.7}


def made(*controls: str, has_intervals: bool = True) -> dict[str, float]:
    """Return a summary whose controls are half of the comparison; intervals reach 0.1 down and 0.2 up."""
    summary = {}
    for prefix, factor in [("", 1.0), *((f"{name}/", 0.5) for name in controls)]:
        means = {name: sum(values) / 2 for name, values in VALUES.items()} | ACCURACY | {"rec2ftp": 80.0}
        for name, mean in means.items():
            summary[f"{prefix}{name}"] = factor * mean
            if has_intervals:
                summary[f"{prefix}{name}_low"] = factor * mean - 0.1
                summary[f"{prefix}{name}_high"] = factor * mean + 0.2
        for name, values in VALUES.items():
            summary |= {f"{prefix}{name}/layer_{layer:02d}": factor * value for layer, value in enumerate(values)}
    return summary


def drawn(summary: dict[str, float]) -> Figure:
    figure = similarity(Results(summary=summary))
    assert figure is not None
    figure.draw_without_rendering()
    return figure


def over_layers(axes: Axes) -> list[Line2D]:
    return [line for line in axes.get_lines() if list(np.asarray(line.get_xdata())) == [0, 1] and line.get_zorder() > 0]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def labels(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def test_four_panels_show_measures_baselines_and_controls_over_layers() -> None:
    figure = drawn(made("untrained", "shuffled_labels"))
    assert [axes.get_title("left").partition(":")[0] for axes in figure.axes] == [
        "SimAOU",
        "SimAM",
        "Kendall",
        "Update similarity",
    ]
    expected = [
        ["sim_aou", "sim_aou_random", "untrained/sim_aou", "shuffled_labels/sim_aou"],
        ["sim_am", "sim_am_zero_shot", "sim_am_delta", "untrained/sim_am", "shuffled_labels/sim_am"],
        [
            "kendall",
            "kendall_random",
            "kendall_examples",
            "kendall_examples_random",
            "untrained/kendall",
            "shuffled_labels/kendall",
        ],
        ["update_similarity", "untrained/update_similarity", "shuffled_labels/update_similarity"],
    ]
    for axes, names in zip(figure.axes, expected, strict=True):
        values = [np.multiply(VALUES[name.split("/")[-1]], 0.5 if "/" in name else 1) for name in names]
        assert [list(np.asarray(line.get_ydata())) for line in over_layers(axes)] == [list(each) for each in values]
    drawn_panels = [names for names in panels().values() if VALUES.keys() & set(names)]
    for axes, names in zip(figure.axes, drawn_panels, strict=True):
        assert labels(axes) == [TEXT_METRICS[name].label for name in names]
    assert texts(figure) == [
        "untrained model",
        "shuffled labels",
        "random baseline, its measure's colour",
        "chance",
        "mean over layers, 95% interval",
    ]


def test_baselines_are_dotted_in_the_colour_of_their_measure_and_controls_thinner() -> None:
    tokens, random, examples, random_examples, untrained = over_layers(drawn(made("untrained")).axes[2])
    assert random.get_linestyle() == random_examples.get_linestyle() == ":"
    assert random.get_color() == tokens.get_color() != examples.get_color() == random_examples.get_color()
    assert untrained.get_linewidth() < tokens.get_linewidth()
    assert untrained.get_linestyle() == "--"


def test_means_stand_at_the_right_with_their_intervals() -> None:
    axes = drawn(made("untrained")).axes[0]
    main, random, untrained = axes.containers
    (bar,) = main.lines[2][0].get_segments()  # type: ignore[attr-defined]
    assert bar[:, 1] == pytest.approx([0.1, 0.4])
    assert [each.lines[0].get_ydata()[0] for each in (random, untrained)] == pytest.approx([0, 0.1])  # type: ignore[attr-defined]
    places = [each.lines[0].get_xdata()[0] for each in axes.containers]  # type: ignore[attr-defined]
    assert 1 < places[0] < places[1] < places[2] < axes.get_xlim()[1]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "1", "mean"]
    assert axes.get_xticks()[-1] == pytest.approx(places[1])


def test_without_intervals_means_have_no_bars() -> None:
    figure = drawn(made(has_intervals=False))
    assert texts(figure) == ["random baseline, its measure's colour", "chance", "mean over layers"]
    assert not any(each.has_yerr for axes in figure.axes for each in axes.containers)  # type: ignore[attr-defined]


def test_an_interval_beside_its_mean_by_a_rounding_error_is_drawn() -> None:
    summary = made() | {"kendall_examples_low": 0.7 + 1e-16, "kendall_examples_high": 0.7 - 1e-16}
    drawn(summary)


def test_only_measures_that_a_run_has_are_shown_with_gaps_where_they_diverged() -> None:
    (axes,) = drawn(
        {"update_similarity": np.nan, "update_similarity/layer_00": 0.5, "update_similarity/layer_01": np.nan}
    ).axes
    (line,) = over_layers(axes)
    assert line.get_ydata() == pytest.approx([0.5, np.nan], nan_ok=True)


def test_one_layer_and_many_can_be_shown() -> None:
    drawn({"sim_aou": 0.5, "sim_aou/layer_00": 0.5})
    axes = drawn({"sim_aou": 0.5, **{f"sim_aou/layer_{layer:02d}": 0.5 for layer in range(120)}}).axes[0]
    assert list(np.asarray(axes.get_lines()[1].get_xdata())) == list(range(120))
    assert len(axes.get_xticks()) < 12


def test_accuracy_has_a_group_of_bars_for_each_control() -> None:
    figure = accuracy(Results(summary=made("untrained", "other_task")))
    assert figure is not None
    (axes,) = figure.axes
    heights = np.reshape([bar.get_height() for bar in axes.patches], (3, 3)).T  # type: ignore[attr-defined]
    assert heights == pytest.approx(np.outer([1, 0.5, 0.5], list(ACCURACY.values())))
    bars = axes.collections[0].get_segments()  # type: ignore[attr-defined]
    assert bars[0][:, 1] == pytest.approx([0.4, 0.7])
    assert texts(figure) == ["zero-shot", "in-context", "finetuned"]
    names = [text.get_text() for text in axes.get_xticklabels()]
    assert names == [
        "comparison\nRec2FTP 80.00 %\n[79.9, 80.2]",
        "untrained model\nRec2FTP 40.00 %\n[39.9, 40.2]",
        "other task\nRec2FTP 40.00 %\n[39.9, 40.2]",
    ]
    assert axes.get_xlabel() == ""


def test_accuracy_has_a_line_at_the_share_of_the_most_frequent_answer() -> None:
    rows = [
        {"control": control, "setting": setting, "label": label}
        for control in (None, "untrained")
        for setting in ("zero_shot", "in_context", "finetuned")
        for label in ("good", "bad", "bad", "ugly", "bad")
    ]
    figure = accuracy(Results(summary=made(), read_rows=lambda: rows))
    assert figure is not None
    lines = [list(np.asarray(line.get_ydata())) for line in figure.axes[0].get_lines()]
    assert [0.6, 0.6] in lines
    assert texts(figure)[-1] == "chance: always the most frequent label (0.6)"


def test_accuracy_has_a_line_at_any_answer_where_queries_have_their_own() -> None:
    scores: list[dict[str, float]] = [
        {"run": -1.0, "swim": -2.0},
        {"ice": -1.0, "sun": -2.0, "snow": -3.0, "tea": -4.0},
    ]
    rows = [
        {"control": None, "setting": "zero_shot", "label": min(of, key=of.__getitem__), "scores": of} for of in scores
    ]
    figure = accuracy(Results(summary=made(), read_rows=lambda: rows))
    assert figure is not None
    assert [0.375, 0.375] in [list(np.asarray(line.get_ydata())) for line in figure.axes[0].get_lines()]
    assert texts(figure)[-1] == "chance: any of a query's own answers (0.375)"


def test_panels_whose_chance_is_known_have_a_line_there() -> None:
    at_chance = [
        [line for line in axes.get_lines() if list(np.asarray(line.get_ydata())) == [0, 0] and line.get_zorder() == 0]
        for axes in drawn(made()).axes
    ]
    assert [len(lines) for lines in at_chance] == [1, 0, 1, 1]


def test_accuracy_says_why_rec2ftp_is_not_defined() -> None:
    nothing = {f"rec2ftp{end}": np.nan for end in ("", "_low", "_high")}
    figure = accuracy(Results(summary=made() | nothing))
    assert figure is not None
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["comparison\nRec2FTP\nnot defined"]
    assert axes.get_xlabel() == "Rec2FTP not defined: finetuning put no query right"


def test_accuracy_without_intervals_shows_values_alone() -> None:
    figure = accuracy(Results(summary=made(has_intervals=False)))
    assert figure is not None
    figure.draw_without_rendering()
    assert figure.axes[0].get_xticklabels()[0].get_text() == "comparison\nRec2FTP 80 %"


def test_other_runs_have_neither_figure() -> None:
    results = Results(summary={"loss/transformer": 0.5, "loss/transformer/layer_00": 1.0, "accuracy/sst2": 0.5})
    assert similarity(results) is None
    assert accuracy(results) is None
    assert not [name for name, drawing in FIGURES.items() if drawing(results) is not None]

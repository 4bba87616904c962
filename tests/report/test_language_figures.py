"""Figures of a language model's training show the numbers that were recorded."""

import numpy as np

from iclgd.report.language_figures import perplexity_by_length
from iclgd.report.results import Results


def test_perplexity_by_length() -> None:
    names = {length: f"val/perplexity/{length}_tokens" for length in (128, 32, 64)}
    metrics = [
        {"step": float(step), **{name: 1000 / (step + length) for length, name in names.items()}} for step in (0, 5, 10)
    ]
    figure = perplexity_by_length(Results(metrics, metrics[-1]))
    assert figure is not None
    over_training, at_the_end = figure.axes
    assert [line.get_label() for line in over_training.lines] == ["32", "64", "128"]
    np.testing.assert_allclose(over_training.lines[0].get_ydata(), [1000 / 32, 1000 / 37, 1000 / 42])
    np.testing.assert_array_equal(at_the_end.lines[0].get_xdata(), [32, 64, 128])
    np.testing.assert_allclose(at_the_end.lines[0].get_ydata(), [1000 / 42, 1000 / 74, 1000 / 138])


def test_a_run_without_lengths_has_no_such_figure() -> None:
    assert perplexity_by_length(Results([{"step": 0.0, "val/perplexity": 3.0}], {"val/perplexity": 3.0})) is None

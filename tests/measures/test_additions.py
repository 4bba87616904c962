"""A text metric, a control and regression metrics, each added by an entry in a file outside the package: --import."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from iclgd.measures import ALIGNMENTS, CONTROLS, ERRORS, TEXT_METRICS
from iclgd.report.results import Results
from iclgd.report.similarity_figures import similarity
from iclgd.report.training_figures import alignment, learning_curve
from iclgd.tracking.run_directory import RunDirectory
from tests.conftest import ROOT
from tests.language_models import LAYERS, save, tiny_model, tiny_tokenizer, write_task

Cli = Callable[..., tuple[int, str, str]]
TEXT = """
from torch import Tensor

from iclgd.measures import CONTROLS, TEXT_METRICS, Control, Panel, TextMetric
from iclgd.metrics import QueryMean, cosine


class SimQueries(QueryMean):
    def values(self, in_context: Tensor, finetuned: Tensor) -> Tensor:
        self.check("B L D", in_context=in_context, finetuned=finetuned)
        return cosine(in_context, finetuned)


TEXT_METRICS["sim_queries"] = TextMetric(
    SimQueries,
    lambda seen: (seen.in_context.queries, seen.finetuned.queries),
    panel=Panel("Query vectors", "mean cosine"),
    label="in-context with finetuned weights",
)
CONTROLS["reversed_order"] = Control(
    "the demonstrations in reverse order",
    "reversed order",
    lambda original: (original.model, original.prompts(original.demonstrations[::-1])),
)
"""
REGRESSION = """
from torch import Tensor
from torchmetrics import MeanAbsoluteError

from iclgd.measures import ALIGNMENTS, ERRORS, AlignmentMetric, ErrorMetric
from iclgd.metrics import MeanMetric


class LargestDifference(MeanMetric):
    layout = "B O"

    @staticmethod
    def summed(preds: Tensor, target: Tensor) -> tuple[Tensor, int]:
        return (preds - target).abs().amax(-1).sum(), len(preds)


ERRORS["mae"] = ErrorMetric(MeanAbsoluteError, "mean absolute error")
ALIGNMENTS["largest"] = AlignmentMetric(
    LargestDifference, lambda learned: learned.prediction, "largest difference", "largest output", "#9467bd"
)
"""


@pytest.fixture(autouse=True)
def _own_registries() -> Iterator[None]:
    """Leave all entries as they were."""
    registries: list[dict[str, Any]] = [ALIGNMENTS, CONTROLS, ERRORS, TEXT_METRICS]
    before = [dict(entries) for entries in registries]
    yield
    for entries, old in zip(registries, before, strict=True):
        entries.clear()
        entries.update(old)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(text)
    return path


def test_a_text_metric_and_a_control_from_outside(cli: Cli, tmp_path: Path) -> None:
    mine = written(tmp_path, TEXT)
    save(tmp_path / "gpt2", tiny_model("gpt2"), tiny_tokenizer())
    path = tmp_path / "small.yaml"
    path.write_text(
        f"experiment: text\nmodel: {{name: {tmp_path / 'gpt2'}}}\ntask: {{name: {write_task(tmp_path)}}}\n"
        "demonstrations: {num: 4}\nfinetune: {learning_rate: 0.1}\ntrainer: {accelerator: cpu}\n"
        "evaluation: {num_replicates: 20, controls: [reversed_order]}\ntracking: {mode: disabled}\n"
    )
    code, out, err = cli("run", path, "--import", mine)
    assert code == 0, err
    directory = RunDirectory(Path(out.splitlines()[-1]))
    summary = directory.read_summary() or {}
    numbers = {"", "_low", "_high", *(f"/layer_{layer:02d}" for layer in range(LAYERS))}
    for prefix in ("", "reversed_order/"):
        assert {f"{prefix}sim_queries{number}" for number in numbers} <= summary.keys()
        layers = [summary[f"{prefix}sim_queries/layer_{layer:02d}"] for layer in range(LAYERS)]
        assert summary[f"{prefix}sim_queries"] == pytest.approx(sum(layers) / LAYERS, abs=1e-12)
        assert summary[f"{prefix}sim_queries_low"] <= summary[f"{prefix}sim_queries"] <= 1
    assert summary["reversed_order/sim_queries"] != summary["sim_queries"]
    assert summary["reversed_order/accuracy/zero_shot"] == summary["accuracy/zero_shot"]
    assert "reversed order" in out
    assert any(line.strip("│┃ ").startswith("sim_queries ") for line in out.splitlines())
    assert (directory.figures / "similarity.png").exists()
    figure = similarity(Results(summary=summary))
    assert figure is not None
    (panel,) = (axes for axes in figure.axes if axes.get_title("left") == "Query vectors")
    (main,) = (line for line in panel.get_lines() if line.get_label() == "in-context with finetuned weights")
    assert list(main.get_ydata()) == [summary[f"sim_queries/layer_{layer:02d}"] for layer in range(LAYERS)]
    assert "reversed order" in [text.get_text() for text in figure.legends[0].get_texts()]
    code, out, _ = cli("list", "--import", mine)
    assert "the demonstrations in reverse order" in out


def test_regression_metrics_from_outside(cli: Cli, tmp_path: Path) -> None:
    mine = written(tmp_path, REGRESSION)
    code, out, err = cli(
        *("run", ROOT / "configs" / "regression" / "one_layer.yaml", "task={num_context: 4, input_dim: 3}"),
        *("training.batch_size=16", "evaluation={every_num_steps: 2, num_tasks: 40}", "tracking.mode=disabled"),
        *("trainer={max_steps: 4, accelerator: cpu}", "--import", mine),
    )
    assert code == 0, err
    directory = RunDirectory(Path(out.splitlines()[-1]))
    summary = directory.read_summary() or {}
    assert {f"mae/{name}" for name in ("transformer", "gd", "interpolated", "ridge", "least_squares")} <= summary.keys()
    assert summary["alignment/largest"] == pytest.approx(summary["alignment/prediction_l2"], rel=1e-5)  # of one output
    for name in ("mae/transformer", "alignment/largest"):
        assert any(line.strip("│┃ ").startswith(name) for line in out.splitlines()), name
    results = Results.read(directory, summary)
    curves, alignments = learning_curve(results), alignment(results)
    assert curves is not None
    assert alignments is not None
    assert [axes.get_ylabel() for axes in curves.axes] == ["loss (0.5 x mean squared error)", "mean absolute error"]
    line = curves.axes[1].get_lines()[0]
    assert list(line.get_ydata()) == [record["mae/transformer"] for record in directory.read_metrics()]
    assert "largest output (left)" in [text.get_text() for text in alignments.legends[0].get_texts()]
    assert alignments.axes[0].get_ylabel() == "mean L2 distance, largest difference"

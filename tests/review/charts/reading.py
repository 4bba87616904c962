"""Charts of run directories, read as tests need them."""

import json
from dataclasses import asdict
from pathlib import Path

from iclgd.review.charts import charts_of
from iclgd.review.document import Chart, Plot, Series
from iclgd.review.gather import gather


def charts_below(root: Path) -> tuple[dict[str, Chart], list[str]]:
    charts, left_out = charts_of(gather([root]).runs)
    json.dumps([asdict(chart) for chart in charts], allow_nan=False)  # no NaN, no numpy
    for chart in charts:
        assert chart.title
        assert chart.text
    return {chart.name: chart for chart in charts}, left_out


def series_of(chart: Chart, panel: int = 0) -> dict[str, Series]:
    plot = chart.panels[panel]
    assert isinstance(plot, Plot)
    return {series.label: series for series in plot.series}


def metrics_of(path: Path, name: str) -> list[float]:
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines]

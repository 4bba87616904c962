"""Reviews made by hand, with everything that a page may have to show."""

import math
from collections.abc import Sequence

from iclgd.report.comparisons import Estimate
from iclgd.review.document import (
    Axis,
    Cell,
    Chart,
    HeatMap,
    Mark,
    Parallel,
    Plot,
    Review,
    Role,
    Section,
    Series,
    Table,
    Verdict,
)

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'&amp; {{ 7 * 7 }} </script><!--"
RIGHT_TO_LEFT = "مرحبا بالعالم \u202etxt.exe"
CONTROLS = "bell\x07 escape\x1b[2J nul\x00 half\udc80"
LONG = "ab " * 3500


def curve(scale: float, length: int = 60, gap: int | None = None) -> list[float | None]:
    """Return a curve that falls to ``scale``, with a gap of one point where it is asked for."""
    values: list[float | None] = [scale * (1 + 8 * math.exp(-step / 9)) for step in range(length)]
    if gap is not None:
        values[gap] = None
    return values


def with_band(label: str, role: Role, scale: float, width: float = 0.15) -> Series:
    values = curve(scale)
    low, high = ([None if y is None else y * (1 + side * width) for y in values] for side in (-1, 1))
    return Series(label, [100.0 * step for step in range(60)], values, low, high, role)


def learning_curve() -> Chart:
    lines = [
        with_band("trained transformer", "transformer", 0.2077),
        Series("gradient descent", [0.0, 5900.0], [0.2076, 0.2076], role="gd"),
        with_band("mean of both weights", "interpolated", 0.24, 0.3),
        Series("untrained", [100.0 * step for step in range(60)], curve(0.9, gap=30), role="control"),
    ]
    cosine = Series(
        "cosine of sensitivities",
        [100.0 * step for step in range(60)],
        [1 - math.exp(-step / 12) for step in range(60)],
        role="transformer",
    )
    return Chart(
        "learning_curve",
        "Loss and alignment over training: one_layer, linear task, 3 seeds",
        [
            Plot("Loss", Axis("step"), Axis("loss (0.5 x mean squared error)", True), lines),
            Plot("Alignment", Axis("step"), Axis("cosine"), [cosine], [Mark(0.0, "chance"), Mark(5000.0, "end", "x")]),
        ],
        "The transformer's loss ends at 0.2077 [0.2070, 0.2084], that of one step of gradient descent at 0.2076.",
    )


def per_layer() -> Chart:
    layers = [float(layer) for layer in range(8)]
    found = [0.5 + 0.04 * layer for layer in layers]
    lines = [
        Series("SimAOU", layers, found, [y - 0.05 for y in found], [y + 0.05 for y in found], "transformer"),
        Series("SimAOU, untrained", layers, [0.3] * 8, role="control"),
        Series("SimAOU, random update", layers, [0.01 * (-1) ** layer for layer in range(8)], role="chance"),
    ]
    share = [
        Series("in-context", ["zero-shot", "in-context", "finetuned"], [0.6, 0.96, 0.95], role="transformer"),
        Series(
            "untrained", ["zero-shot", "in-context", "finetuned"], [0.24, 0.25, 0.27], [0.2] * 3, [0.3] * 3, "control"
        ),
    ]
    return Chart(
        "similarity",
        "Likeness by layer, and accuracy: embedded, 64 queries, 1 seed",
        [
            Plot("By layer", Axis("layer"), Axis("cosine"), lines, [Mark(0.0, "chance")]),
            Plot("Accuracy", Axis(""), Axis("share of right answers"), share, [Mark(0.25, "chance")], bars=True),
        ],
        "SimAOU is 0.64 on average; of an untrained model 0.29.",
    )


def out_of_distribution() -> Chart:
    scales = [0.5, 1.0, 1.5, 2.0, 3.0]
    lines = [
        Series(
            "trained transformer",
            scales,
            [0.1, 0.2, 0.5, 2.0, 90.0],
            [0.0, 0.1, 0.3, 1, 40],
            [0.2, 0.3, 1, 4, 150],
            "transformer",
        ),
        Series("gradient descent", scales, [0.1, 0.2, 0.4, 0.9, 2.5], role="gd"),
        Series("published", [1.0], [0.2079], role="paper", joined=False),
    ]
    return Chart(
        "out_of_distribution",
        "Loss on inputs of other ranges: out_of_distribution, 5 seeds",
        [Plot("", Axis("scale of inputs"), Axis("loss", True), lines, [Mark(1.0, "in training", "x")])],
        "From a scale of 2 on, the transformer's loss is above that of gradient descent.",
    )


def weights() -> Chart:
    names = [f"x{index}" for index in range(10)] + ["y"]
    values: list[list[float | None]] = [
        [math.sin(row * column) if row == column else 0.02 * (row - column) for column in range(11)]
        for row in range(11)
    ]
    values[3][4] = math.nan
    return Chart(
        "weights",
        "Weights of the trained layer beside those of the construction: one_layer, seed 0",
        [HeatMap("trained: K Q", names, names, values), HeatMap("construction: K Q", names, names, values)],
        "Both matrices have a diagonal block over the inputs and nothing else.",
    )


def sweep(runs: int = 40) -> Chart:
    rows: list[Sequence[float | str | None]] = [
        [10.0 ** -(run % 4 + 1), float(run % 3 + 1), "linear" if run % 2 else "softmax", 0.2 + 0.01 * run]
        for run in range(runs)
    ]
    rows.append([0.1, 2.0, "linear", math.nan])
    return Chart(
        "parallel_coordinates",
        f"Swept keys and the metric, {runs + 1} runs",
        [Parallel("", ["training.learning_rate", "model.num_layers", "model.attention", "loss/transformer"], rows)],
        "The lowest loss, 0.2, was found at a learning rate of 0.1.",
    )


def swept() -> Chart:
    rates = ["0.0001", "0.001", "0.01", "0.1"]
    dots = Series("runs", rates * 3, [0.5, 0.4, 0.3, 0.9, 0.52, 0.41, 0.28, 0.7, 0.49, 0.38, 0.31, 1.2], joined=False)
    means = Series("mean over seeds", rates, [0.5, 0.4, 0.3, 0.93], [0.4, 0.3, 0.2, 0.3], [0.6, 0.5, 0.4, 1.5], "gd")
    return Chart(
        "swept_learning_rate",
        "loss/transformer against training.learning_rate: 12 runs, 3 seeds",
        [Plot("", Axis("training.learning_rate"), Axis("loss/transformer"), [dots, means])],
        "The best mean is 0.3, at 0.01.",
    )


def empty() -> Chart:
    return Chart(
        "empty",
        "Nothing finite",
        [Plot("", Axis("step"), Axis("loss", True), [Series("diverged", [1.0, 2.0], [math.nan, -1.0])])],
        "The run diverged.",
    )


def runs_table(number: int) -> Table:
    """Return a table of runs with every kind of cell."""
    rows: list[list[Cell]] = [
        [
            f"20260131-{run:06d}-1a2b3c",
            float((run * 37) % number),
            math.nan if run % 10 == 3 else Estimate(0.2 + run / 1000, 0.19 + run / 1000, 0.21 + run / 1000),
            None if run % 7 == 2 else 1 / (run + 1),
            ["complete", "stopped", "failed"][run % 3],
        ]
        for run in range(number)
    ]
    return Table(f"Runs ({number})", ["run", "seed", "loss/transformer", "train/steps_per_second", "state"], rows)


def headline() -> Table:
    return Table(
        "Headline numbers beside the published",
        ["name", "ours", "published implementation", "paper"],
        [
            ["loss/transformer", Estimate(0.2077, 0.2070, 0.2084), 0.2079, None],
            ["loss/gd", Estimate(0.2076, 0.2069, 0.2083), 0.2074, None],
            ["alignment/sensitivity_cosine", 0.9992, 0.9993, "above 0.99"],
        ],
        "Intervals are of the mean over 3 seeds, by Student's t.",
    )


def one_layer() -> Section:
    return Section(
        "one_layer",
        "Does one layer of linear self-attention, trained on linear regression in context, learn one step of gradient "
        "descent? Runs differ in their seeds.",
        [
            Verdict(
                "Is the trained transformer like gradient descent?",
                "like",
                "Its loss, 0.2077 [0.2070, 0.2084], lies within 1 % of one gradient step's, 0.2076; the cosine of "
                "their sensitivities is 0.9992, that of an untrained layer 0.03.",
            ),
            Verdict("Is it any closer than its control?", "not told from its control", "There is one seed."),
        ],
        headline(),
        [learning_curve(), out_of_distribution(), weights()],
        [runs_table(24)],
        ["iclgd run one_layer seed=0", "iclgd run one_layer seed=1 'tracking.tags=[a b]'"],
        [("iclgd", "0.1.0"), ("torch", "2.9.0, 2.8.0"), ("device", "cpu")],
        ["20260131-120000-1a2b3c: figures/weights.png is missing"],
        ["team/project/1a2b3c"],
    )


def review() -> Review:
    """Return a review of several groups."""
    sweeping = Section(
        "sweeps/rates",
        "Which learning rate is best? 12 runs, 4 settings of 3 seeds.",
        [Verdict("Is the trained transformer like gradient descent?", "cannot say", "No two settings agree.")],
        Table("Settings", ["training.learning_rate", "loss/transformer"], [[0.01, Estimate(0.3, 0.2, 0.4)]]),
        [sweep(), swept(), empty()],
        [],
        ["iclgd sweep sweeps/rates.yaml --workers 2"],
    )
    text = Section(
        "embedded",
        "Does a GPT-2 learn from demonstrations in its prompt as finetuning on them would let it?",
        [Verdict("Is in-context learning like finetuning?", "unlike", "SimAOU is 0.64; of an untrained model 0.29.")],
        Table("Headline numbers", ["name", "ours"], [["rec2ftp", Estimate(99.5, 98.0, 100.0)]]),
        [per_layer()],
    )
    return Review(
        "Is in-context learning gradient descent?",
        "2026-01-31 12:00",
        "0.1.0",
        [one_layer(), text, sweeping],
        ["runs/broken: config.yaml cannot be read"],
        ["runs/one_layer", "runs/sweeps"],
    )


def hostile() -> Review:
    """Return a review whose every text is a stranger's."""
    texts = [HOSTILE, RIGHT_TO_LEFT, CONTROLS, LONG, ""]
    sections = [
        Section(
            text,
            text,
            [Verdict(text, "cannot say", text)],
            Table(text, [text, text], [[text, 1.0], [text, math.inf]], text),
            [
                Chart(
                    text,
                    text,
                    [
                        Plot(
                            text,
                            Axis(text),
                            Axis(text),
                            [Series(text, [text, "b"], [1.0, 2.0]), Series("b", ["b"], [1.0], role="gd")],
                            [Mark(1.5, text)],
                            bars=True,
                        ),
                        Plot(text, Axis(text), Axis(text), [Series(text, [1.0, 2.0], [1.0, 2.0])], [Mark(1.0, text)]),
                        HeatMap(text, [text, text], [text, "b"], [[1.0, -1.0], [0.5, None]]),
                        Parallel(text, [text, text], [[text, 1.0], ["b", 2.0]]),
                    ],
                    text,
                )
            ],
            [],
            [text],
            [(text, text)],
            [text],
            [text],
        )
        for text in texts
    ]
    return Review(HOSTILE, "2026-01-31 12:00", "0.1.0", sections, [HOSTILE], [HOSTILE, RIGHT_TO_LEFT])


def large(runs: int) -> Review:
    """Return a review of many runs: groups of twenty, each run with two curves of its own."""
    sections = []
    for group in range(max(1, runs // 20)):
        lines = [with_band(f"run {run}", "transformer" if run < 10 else "other", 0.2 + run / 100) for run in range(20)]
        curves = Chart(
            "learning_curve",
            f"Loss over training: group {group}",
            [Plot("", Axis("step"), Axis("loss", True), lines), Plot("", Axis("step"), Axis("loss"), lines)],
            "All fall.",
        )
        verdict = Verdict("Is the trained transformer like gradient descent?", "like", "It is.")
        charts = [curves, per_layer(), weights(), out_of_distribution()]
        commands = [f"iclgd run one_layer seed={run}" for run in range(20)]
        sections.append(
            Section(f"one_layer {group}", "The same.", [verdict], headline(), charts, [runs_table(20)], commands)
        )
    return Review(f"{runs} runs", "2026-01-31 12:00", "0.1.0", sections, [], ["runs"])

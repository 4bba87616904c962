"""Learning rates that are searched for, beside a plain loop of transformers' and torch's SGD with whole prompts."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2LMHeadModel

from iclgd import config as configs
from iclgd.analysis.learning_rate import DIVERGED, Judged, LearningRateError, best_of
from iclgd.experiments import text
from iclgd.report.rate_figures import learning_rate
from iclgd.report.results import Results
from iclgd.runs.run import load_run
from iclgd.tracking.run_directory import RunDirectory
from tests.language_models import save, tiny_model, tiny_tokenizer, write_task

Cli = Callable[..., tuple[int, str, str]]
RATES = [0.01, 0.1, 1.0, 1e30]  # with the last one finetuning diverges
SEARCH = f"finetune={{learning_rate: search, search: {{learning_rates: {RATES}, num_rows: 7}}}}"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    save(folder / "gpt2", tiny_model("gpt2"), tiny_tokenizer())
    path = folder / "small.yaml"
    path.write_text(
        f"experiment: text\nmodel: {{name: {folder / 'gpt2'}}}\ntask: {{name: {write_task(folder)}, num_queries: 6}}\n"
        "demonstrations: {num: 4, num_draws: 2, seed: 1}\nevaluation: {num_replicates: 0}\n"
        "trainer: {accelerator: cpu}\ntracking: {mode: disabled}\n"
    )
    return path


def ran(cli: Cli, *arguments: object) -> tuple[Path, str]:
    code, out, err = cli("run", *arguments)
    assert code == 0, err
    return Path(out.splitlines()[-1]), err


def by_hand(prepared: text.Prepared, folder: str, draw: int, rate: float) -> tuple[float, float]:
    """Return accuracy and mean log-probability of the right answer: whole prompts, one at a time."""
    assert prepared.search is not None
    model, held_out = GPT2LMHeadModel.from_pretrained(folder).eval(), prepared.search[0].held_out
    for example in prepared.search[0].comparisons[draw].prompts.finetuning_examples:
        ids = torch.tensor([example])
        model.zero_grad()
        model(ids, labels=ids).loss.backward()
        with torch.no_grad():
            for block in model.transformer.h:
                for parameter in (block.attn.c_attn.weight, block.attn.c_attn.bias):
                    size = parameter.shape[-1] // 3
                    parameter[..., size:] -= rate * parameter.grad[..., size:]  # keys and values
    right, log_probabilities = [], []
    for query, label in zip(held_out.queries, held_out.labels, strict=True):
        scores = []
        for answer in held_out.answers:
            with torch.no_grad():
                logits = model(torch.tensor([held_out.start + query + answer])).logits[0].double().log_softmax(-1)
            of_tokens = logits[-len(answer) - 1 : -1].gather(1, torch.tensor(answer)[:, None])
            scores.append(of_tokens.mean().item())
        right.append(max(range(len(scores)), key=scores.__getitem__) == label)
        log_probabilities.append(scores[label])
    return sum(right) / len(right), sum(log_probabilities) / len(log_probabilities)


def test_every_rate_is_judged_as_by_hand_and_the_best_is_taken(cli: Cli, config: Path) -> None:
    path, err = ran(cli, config, SEARCH, "evaluation.controls=[untrained]")
    prepared = text.prepare(configs.load(config, [SEARCH]))
    results = Results.read(RunDirectory(path), load_run(path).summary)
    curve = [row for row in results.metrics if "search/learning_rate" in row]
    assert [row["search/learning_rate"] for row in curve] == RATES
    folder = configs.load(config, [SEARCH]).model.name  # type: ignore[attr-defined]
    means = []
    for row in curve[:-1]:
        draws = [by_hand(prepared, folder, draw, row["search/learning_rate"]) for draw in range(2)]
        for draw, expected in enumerate(draws):
            names = [f"draw_{draw:02d}/search/{name}" for name in ("accuracy", "log_probability")]
            assert [row[name] for name in names] == pytest.approx(expected, abs=1e-5)
        means.append(tuple(sum(column) / 2 for column in zip(*draws, strict=True)))
        assert [row["search/accuracy"], row["search/log_probability"]] == pytest.approx(means[-1], abs=1e-5)
    assert all(math.isnan(value) for name, value in curve[-1].items() if "accuracy" in name or "log" in name)
    best = max(range(len(means)), key=means.__getitem__)
    found = load_run(path).summary
    assert found["search/learning_rate"] == RATES[best]
    assert found["search/num_rows"] == 7
    assert f"finetune.learning_rate={RATES[best]:g}, the best of 4 on 7 training rows" in err
    given, _ = ran(cli, config, f"finetune.learning_rate={RATES[best]}", "evaluation.controls=[untrained]")
    expected = load_run(given).summary
    for name in expected.keys() - {"queries_per_second", "peak_memory_bytes"}:  # nothing else is changed by it
        assert found[name] == pytest.approx(expected[name], abs=0, nan_ok=True), name
    figure = learning_rate(results)
    assert figure is not None
    assert (path / "figures" / "learning_rate.png").exists()
    assert not (given / "figures" / "learning_rate.png").exists()
    crosses = next(line for line in figure.axes[0].get_lines() if line.get_label() == "diverged")
    assert list(crosses.get_xdata()) == [1e30]  # type: ignore[arg-type]


def test_layer_causal_finetuning_has_its_own(cli: Cli, config: Path) -> None:
    """Which rate is best differs by method here, so that the other's would be seen."""
    paths = [
        ran(cli, config, SEARCH, f"finetune.method={method}")[0] for method in ("gradient_descent", "layer_causal")
    ]
    curves = [load_run(path).metrics["search/log_probability"].values for path in paths]
    assert not (curves[0][:2] == curves[1][:2]).any()


def test_rows_are_no_demonstrations_no_queries_and_fit(config: Path, tmp_path: Path) -> None:
    loaded = configs.load(config, [SEARCH, "finetune.search.num_rows=1000"])
    assert isinstance(loaded, text.Config)
    prepared = text.prepare(loaded)
    assert prepared.search is not None
    asked = prepared.search[0].held_out
    shown = [each for prompts in prepared.data.prompts for each in prompts.demonstrations]
    for query, sentence in zip(asked.queries, asked.query_texts, strict=True):
        assert not any(demonstration[: len(query)] == query for demonstration in shown)
        assert sentence not in prepared.data.prompts[0].query_texts
        assert len(query) <= max(map(len, prepared.data.prompts[0].queries))
    assert len(set(asked.query_texts)) > 10


def test_one_draw_may_do_for_all(cli: Cli, config: Path) -> None:
    path, _ = ran(cli, config, SEARCH, "finetune.search.num_draws=1")
    whole, _ = ran(cli, config, SEARCH)
    one, both = (load_run(each).metrics for each in (path, whole))
    assert list(one["search/accuracy"].values[:3]) == list(both["draw_00/search/accuracy"].values[:3])
    assert not [name for name in one if name.startswith("draw_")]


def test_what_diverges_is_never_best() -> None:
    judged = [[Judged(0.5, -1.0), Judged(0.5, -1.0)], [Judged(1.0, -0.1), DIVERGED], [Judged(0.5, -0.5)] * 2]
    assert best_of([0.1, 0.2, 0.3], judged) == 2
    with pytest.raises(LearningRateError, match=r"not finite with any of them \(0.1, 10\); try smaller ones"):
        best_of([0.1, 10.0], [[DIVERGED], [DIVERGED]])


def test_a_search_without_a_rate_that_works_says_so(cli: Cli, config: Path) -> None:
    code, _, err = cli("run", config, SEARCH, "finetune.search.learning_rates=[1e30, 2e30]")
    assert code == 2
    assert "finetune.search.learning_rates: finetuning is not finite with any of them" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["finetune.learning_rate=serach"], "must be a number or search, got 'serach'; did you mean search?"),
        (["finetune.learning_rate=-1"], "finetune.learning_rate must be positive and finite, got -1.0"),
        ([SEARCH, "finetune.search.learning_rates=[0.1]"], "must be at least two, all different, got [0.1]"),
        ([SEARCH, "finetune.search.learning_rates=[0.1, 0.1]"], "must be at least two, all different, got [0.1, 0.1]"),
        ([SEARCH, "finetune.search.learning_rates=[0.1, 0]"], "must be positive and finite, got 0.0"),
        ([SEARCH, "finetune.search.num_rows=0"], "finetune.search.num_rows must be at least 1, got 0"),
        ([SEARCH, "finetune.search.num_draws=3"], "finetune.search.num_draws must be at most demonstrations.num_draws"),
        ([SEARCH, "demonstrations.num_draws=12", "demonstrations.num=20"], "none of the 30 is left"),
    ],
)
def test_mistakes_are_one_line(cli: Cli, config: Path, overrides: list[str], message: str) -> None:
    code, out, err = cli("run", config, *overrides)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1, err


def test_numbers_may_look_like_anything(config: Path) -> None:
    for typed, value in {"1e-3": 0.001, "'0.5'": 0.5, "1": 1.0, "search": "search", "'search'": "search"}.items():
        rate: Any = configs.load(config, [f"finetune.learning_rate={typed}"]).finetune.learning_rate  # type: ignore[attr-defined]
        assert (rate, type(rate)) == (value, type(value))

"""Orders of the same demonstrations: beside a loop of plain transformers over whole prompts, in double precision."""

import copy
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import GPT2LMHeadModel, PreTrainedTokenizerBase

import iclgd
from iclgd.analysis.finetune import METHODS
from iclgd.comparing import ComparisonResult
from iclgd.data.orders import more_orders
from iclgd.data.prompts import DemonstrationsConfig, select_demonstrations
from iclgd.data.text import TextExample, choose_queries, load_examples, load_task
from iclgd.models import load_language_model
from iclgd.report.comparison_table import comparison_table
from iclgd.report.order_figures import order
from iclgd.report.results import Results
from tests.plain_gpt2 import finetuned

TASK, NUM, NUM_ORDERS, NUM_DRAWS, NUM_QUERIES, RATE = "embedded", 3, 3, 2, 6, 0.1


def ran(method: str, **changes: Any) -> ComparisonResult:
    keys = {"finetune.method": method, "demonstrations.num_orders": NUM_ORDERS, "evaluation.num_replicates": 50}
    overrides = [f"{key}={value}" for key, value in (keys | changes).items()]
    return iclgd.compare(
        TASK,
        TASK,
        learning_rate=RATE,
        num_demonstrations=NUM,
        num_queries=NUM_QUERIES,
        num_draws=NUM_DRAWS,
        controls=["shuffled_labels"],
        overrides=overrides,
    )


class Loop:
    """What every draw and order gives: probabilities of all tokens after each query, (queries, tokens)."""

    def __init__(self, method: str) -> None:
        model, self.tokenizer = load_language_model(TASK)
        assert isinstance(model, GPT2LMHeadModel)
        self.model, self.method = copy.deepcopy(model).double().eval().requires_grad_(False), method
        self.task = load_task(TASK)
        self.queries = choose_queries(load_examples(self.task, "validation", None), NUM_QUERIES)

    def ids(self, text: str) -> Tensor:
        tokenizer: PreTrainedTokenizerBase = self.tokenizer
        return torch.tensor([tokenizer(text).input_ids])

    def shown(self, example: TextExample) -> str:
        return f"{self.task.prompt(example)} {self.task.answers[example.label]}"

    @torch.no_grad()
    def asked(self, model: GPT2LMHeadModel, before: str = "") -> np.ndarray[Any, Any]:
        texts = [f"{before}{self.task.prompt(query)}" for query in self.queries]
        return np.stack([model(input_ids=self.ids(text)).logits[0, -1].softmax(-1).numpy() for text in texts])

    def after(self, demonstrations: Sequence[TextExample]) -> dict[str, np.ndarray[Any, Any]]:
        texts = [self.shown(example) for example in demonstrations]
        trained = finetuned(self.model, [self.ids(text) for text in texts], RATE, self.method)
        return {
            "in_context": self.asked(self.model, "".join(f"{text}\n" for text in texts)),
            "finetuned": self.asked(trained),
        }

    def draw(self, seed: int) -> list[dict[str, np.ndarray[Any, Any]]]:
        rows = load_examples(self.task, "train", None)
        drawn = select_demonstrations(rows, DemonstrationsConfig(num=NUM, seed=seed), self.task.answers)
        orders = [range(NUM), *more_orders(NUM, NUM_ORDERS, seed)]
        return [self.after([drawn[index] for index in order]) for order in orders]

    def choices(self, shares: np.ndarray[Any, Any]) -> list[int]:
        answers = [self.ids(f": {answer}")[0, -1].item() for answer in self.task.answers]
        return np.argmax(shares[:, answers], axis=1).tolist()


@pytest.mark.parametrize("method", METHODS)
def test_sensitivity_to_order_is_that_of_a_plain_loop(method: str) -> None:
    result, loop = ran(method), Loop(method)
    draws = [loop.draw(seed) for seed in range(NUM_DRAWS)]
    rows = [row for row in result.predictions if row["control"] is None and row["setting"] == "in_context"]
    likeness = [[row["likeness"] for row in rows if row["draw"] == draw] for draw in range(NUM_DRAWS)]
    for setting in ("in_context", "finetuned"):
        sensitivities, flips = [], []
        for draw, orders in enumerate(draws):
            shares = np.stack([order[setting] for order in orders])
            spread = shares.std(axis=0, ddof=1).sum(-1)
            sensitivities.append(spread.mean())
            found = [each[f"order_sensitivity/{setting}"] for each in likeness[draw]]
            assert found == pytest.approx(spread.tolist(), abs=1e-5)
            assert spread.min() > 1e-3
            assert result.summary[f"draw_{draw:02d}/order_sensitivity/{setting}"] == pytest.approx(
                spread.mean(), abs=1e-5
            )
            chosen = [loop.choices(each) for each in shares]
            pairs = [np.not_equal(one, other) for one, other in itertools.combinations(chosen, 2)]
            assert [each[f"order_flips/{setting}"] for each in likeness[draw]] == pytest.approx(np.mean(pairs, axis=0))
            flips.append(np.mean(pairs))
        assert result.summary[f"order_sensitivity/{setting}"] == pytest.approx(np.mean(sensitivities), abs=1e-5)
        assert result.summary[f"order_flips/{setting}"] == pytest.approx(np.mean(flips))
        over_draws = np.stack([orders[0][setting] for orders in draws]).std(axis=0, ddof=1).sum(-1).mean()
        assert result.summary[f"selection_sensitivity/{setting}"] == pytest.approx(over_draws, abs=1e-5)
        low, high = (result.summary[f"selection_sensitivity/{setting}_{end}"] for end in ("low", "high"))
        assert 0 < low <= over_draws <= high
    check_what_is_shown(result)


def check_what_is_shown(result: ComparisonResult) -> None:
    summary = result.summary
    assert not [name for name in summary if name.startswith("shuffled_labels/order") or "order_flips/layer" in name]
    names = list(comparison_table(summary, "run").columns[0].cells)
    wanted = [
        f"{kind}/{setting}" for kind in ("order_sensitivity", "order_flips") for setting in ("in_context", "finetuned")
    ]
    place = names.index(wanted[0])
    assert names[place : place + 4] == wanted
    assert "selection_sensitivity/finetuned" in names
    figure = order(Results(summary=summary))
    assert figure is not None
    assert [axes.get_ylabel() for axes in figure.axes] == ["sum of standard deviations", "share of pairs of orders"]
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    kinds = ("order_sensitivity", "selection_sensitivity")
    assert heights == [summary[f"{kind}/{setting}"] for setting in ("in_context", "finetuned") for kind in kinds]


def test_without_orders_nothing_is_measured_and_nothing_changes() -> None:
    one = ran("gradient_descent", **{"demonstrations.num_orders": 1})
    more = ran("gradient_descent", **{"evaluation.batch_size": 2})
    unsteady = {"queries_per_second", "peak_memory_bytes"}
    assert not [name for name in one.summary if "order_" in name or "selection_" in name]
    shared = one.summary.keys() - unsteady
    assert {name: more.summary[name] for name in shared} == pytest.approx(
        {name: one.summary[name] for name in shared}, abs=1e-5, nan_ok=True
    )
    assert order(Results(summary=one.summary)) is None


def test_orders_are_different_and_the_first_is_the_demonstrations_own() -> None:
    for num in (2, 3, 4):
        every = sorted(itertools.permutations(range(num)))
        assert sorted([tuple(range(num)), *more_orders(num, len(every), seed=1)]) == every
    assert more_orders(7, 1, seed=0) == ()
    assert more_orders(32, 9, seed=3)[:4] == more_orders(32, 5, seed=3)


@pytest.mark.parametrize(
    ("num_orders", "message"),
    [
        (0, "demonstrations.num_orders must be at least 1, got 0"),
        (7, "demonstrations.num_orders must be at most 6, the orders of 3 demonstrations; got 7"),
    ],
)
def test_orders_that_cannot_be_are_refused(num_orders: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        ran("gradient_descent", **{"demonstrations.num_orders": num_orders})


def test_orders_are_the_permutations_that_a_run_can_ask_for() -> None:
    rows, answers = load_examples(load_task(TASK), "train", None), load_task(TASK).answers
    config = DemonstrationsConfig(num=9, seed=4)
    own = select_demonstrations(rows, config, answers)
    for permutation, of_places in enumerate(more_orders(9, 4, seed=4), start=1):
        permuted = select_demonstrations(rows, replace(config, permutation=permutation), answers)
        assert [own[index] for index in of_places] == permuted

"""Calibrated scores beside a loop of plain transformers over whole prompts, in double precision."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import Tensor
from transformers import GPT2LMHeadModel

import iclgd
from iclgd.data.prompts import DemonstrationsConfig, select_demonstrations
from iclgd.data.text import choose_queries, load_examples, load_task
from iclgd.report.comparison_table import comparison_table
from iclgd.runs.answered_queries import Answered
from tests.language_models import LONG_ANSWERS, tiny_model, tiny_tokenizer, write_task
from tests.plain_gpt2 import finetuned

NUM, NUM_QUERIES, RATE = 3, 7, 0.3
CONTENT_FREE = ("N/A", "[MASK]", "")
Array = np.ndarray[Any, Any]


class Loop:
    """Scores of answers, one whole sequence at a time."""

    def __init__(self, path: Path, model: GPT2LMHeadModel) -> None:
        self.model = copy.deepcopy(model).double()
        self.tokenizer, self.task = tiny_tokenizer(), load_task(str(path))
        self.queries = choose_queries(load_examples(self.task, "validation", None), NUM_QUERIES)
        rows = load_examples(self.task, "train", None)
        drawn = select_demonstrations(rows, DemonstrationsConfig(num=NUM), self.task.answers)
        self.shown = [f"{self.task.prompt(each)} {self.task.answers[each.label]}" for each in drawn]

    def ids(self, text: str) -> Tensor:
        return torch.tensor([self.tokenizer(text).input_ids])

    @torch.no_grad()
    def score(self, model: GPT2LMHeadModel, prompt: str, answer: str) -> float:
        ids, start = self.ids(f"{prompt} {answer}"), self.ids(prompt).shape[1]
        shares = model(input_ids=ids).logits[0].log_softmax(-1)
        found = [shares[place - 1, ids[0, place]].item() for place in range(start, ids.shape[1])]
        return sum(found) / len(found)

    def scores(self, model: GPT2LMHeadModel, before: str, prompts: Sequence[str]) -> Array:
        answers = self.task.answers
        return np.array([[self.score(model, before + prompt, answer) for answer in answers] for prompt in prompts])

    def settings(self) -> dict[str, tuple[Array, Array]]:
        """Return in each setting the scores of queries, and without content."""
        queries = [self.task.prompt(query) for query in self.queries]
        without = [f"Day: {text} It is" for text in CONTENT_FREE]
        context = "".join(f"{text}\n" for text in self.shown)
        trained = finetuned(self.model, [self.ids(text) for text in self.shown], RATE)
        settings = {"zero_shot": (self.model, ""), "in_context": (self.model, context), "finetuned": (trained, "")}
        return {
            name: (self.scores(*setting, queries), self.scores(*setting, without)) for name, setting in settings.items()
        }


def test_calibrated_scores_are_those_of_a_plain_loop(tmp_path: Path) -> None:
    path, model = write_task(tmp_path, answers=LONG_ANSWERS), tiny_model("gpt2")
    assert isinstance(model, GPT2LMHeadModel)
    keys: dict[str, Any] = {"learning_rate": RATE, "num_demonstrations": NUM, "num_queries": NUM_QUERIES}
    overrides = ["evaluation.num_replicates=20", "trainer.accelerator=cpu"]
    plain, found = (
        iclgd.compare((model, tiny_tokenizer()), path, **keys, controls=["untrained"], overrides=[*overrides, *more])
        for more in ([], ["evaluation.calibrate=true", "evaluation.batch_size=3"])
    )
    loop = Loop(path, model)
    labels, answered = [query.label for query in loop.queries], Answered.read(found.predictions)
    for setting, (scores, without) in loop.settings().items():
        expected = scores - (logsumexp(without, axis=0) - np.log(3))
        shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)  # as published: W p, of normalised probabilities
        weighed = shares / (np.exp(without).mean(0) / np.exp(without).mean(0).sum())
        assert (weighed.argmax(1) == expected.argmax(1)).all()
        rows = [row for row in found.predictions if (row["control"], row["setting"]) == (None, setting)]
        calibrated = [list(row["calibrated_scores"].values()) for row in rows]
        np.testing.assert_allclose(calibrated, expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose([list(row["scores"].values()) for row in rows], scores, rtol=0, atol=1e-5)
        assert [row["calibrated_choice"] for row in rows] == [LONG_ANSWERS[best] for best in expected.argmax(1)]
        name = f"accuracy_calibrated/{setting}"
        assert found.summary[name] == pytest.approx(np.mean(expected.argmax(1) == labels))
        assert found.summary[f"{name}_low"] <= found.summary[name] <= found.summary[f"{name}_high"]
        values = answered.values(name)
        assert values is not None
        assert values.mean() == pytest.approx(found.summary[name])
        assert f"untrained/{name}" in found.summary
        assert name in list(comparison_table(found.summary, "run").columns[0].cells)
    unsteady = {"queries_per_second", "peak_memory_bytes"}
    added = {name for name in found.summary if "accuracy_calibrated" in name}
    assert found.summary.keys() - added == plain.summary.keys()
    for name in plain.summary.keys() - unsteady:
        assert found.summary[name] == pytest.approx(plain.summary[name], abs=1e-5, nan_ok=True), name
    assert not any("calibrated_scores" in row for row in plain.predictions)

"""Queries with answers of their own, against a plain loop: whole prompts, one at a time, in double precision."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import PreTrainedModel

import iclgd
from iclgd.data.own_answers import own_answers
from iclgd.data.prompts import PromptError
from iclgd.data.shuffled_labels import shuffle_labels
from iclgd.data.text import TextExample, TextTask, load_examples
from tests.language_models import TEXTS, tiny_model, tiny_tokenizer
from tests.tokenizers import whole, word_pieces

RATE, NUM_SHOWN = 0.3, 5
WORDS = ["bad", "good", "neither of them", "quite bad", "the wind", "all day", "a cold sun and rain", "warm"]


def rows(num: int, first: int) -> list[dict[str, Any]]:
    """Return rows with two to four answers of one to many tokens."""
    found = []
    for index in range(first, first + num):
        answers = [WORDS[(index * 3 + choice * 5) % len(WORDS)] for choice in range(2 + index % 3)]
        found.append(
            {"text": f"{TEXTS[index % len(TEXTS)]} {index}", "answers": answers, "label": index * 7 % len(answers)}
        )
    return found


TRAIN, ASKED = rows(12, 0), rows(14, 40)


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return tiny_model("gpt2").double()


@pytest.fixture(scope="module")
def task() -> TextTask:
    return iclgd.data.task_from_rows(TRAIN, ASKED, template="Day: {text} It is", choices="answers", name="days")


def compared(
    model: PreTrainedModel, task: TextTask, *overrides: str, rate: float | str = RATE, **keys: Any
) -> iclgd.ComparisonResult:
    return iclgd.compare(
        (model, tiny_tokenizer()),
        task,
        learning_rate=rate,
        num_demonstrations=NUM_SHOWN,
        overrides=[
            "demonstrations.selection=first",
            "evaluation.num_replicates=0",
            "trainer.accelerator=cpu",
            *overrides,
        ],
        **keys,
    )


@pytest.fixture(scope="module")
def result(model: PreTrainedModel, task: TextTask) -> iclgd.ComparisonResult:
    return compared(model, task, "evaluation.controls=[shuffled_labels,untrained]")


def tokens(text: str) -> list[int]:
    return list(tiny_tokenizer().backend_tokenizer.encode(text, add_special_tokens=False).ids)


def whole_of(row: dict[str, Any]) -> str:
    return f"Day: {row['text']} It is {row['answers'][row['label']]}"


def finetuned(model: PreTrainedModel, demonstrations: Sequence[str], rate: float = RATE) -> PreTrainedModel:
    """Take a step of gradient descent on each: keys and values alone, the last two thirds of one matrix."""
    model = copy.deepcopy(model)
    parts = [part for block in model.transformer.h for part in block.attn.c_attn.parameters()]
    for text in demonstrations:
        ids = torch.tensor([[0, *tokens(text)]])
        for part in parts:
            part.requires_grad_(True)
        logits = model(input_ids=ids).logits[0, :-1]
        gradients = torch.autograd.grad(F.cross_entropy(logits, ids[0, 1:]), parts)
        with torch.no_grad():
            for part, gradient in zip(parts, gradients, strict=True):
                part.requires_grad_(False)
                third = part.shape[-1] // 3
                part[..., third:] -= rate * gradient[..., third:]
    return model


@torch.no_grad()
def score(model: PreTrainedModel, prompt: str, answer: str) -> float:
    """Return the mean log-probability of an answer's tokens, those of the whole text after its prompt's."""
    before, whole = tokens(prompt), tokens(f"{prompt} {answer}")
    assert whole[: len(before)] == before
    log_probabilities = model(input_ids=torch.tensor([[0, *whole]])).logits[0].log_softmax(-1)
    places = range(len(before), len(whole))
    return sum(log_probabilities[place, whole[place]].item() for place in places) / len(places)


def test_scores_and_numbers_are_those_of_whole_prompts(model: PreTrainedModel, result: iclgd.ComparisonResult) -> None:
    prompts = [f"Day: {row['text']} It is" for row in ASKED]
    shown = [whole_of(row) for row in TRAIN[:NUM_SHOWN]]
    context = "".join(f"{text}\n" for text in shown)
    trained = finetuned(model, shown)
    settings = {"zero_shot": (model, ""), "in_context": (model, context), "finetuned": (trained, "")}
    right: dict[str, list[bool]] = {}
    for setting, (of, before) in settings.items():
        found = [row for row in result.predictions if row["setting"] == setting and row["control"] is None]
        for row, asked, prompt in zip(found, ASKED, prompts, strict=True):
            expected = {answer: score(of, before + prompt, answer) for answer in asked["answers"]}
            assert row["scores"] == pytest.approx(expected, rel=1e-9)
            assert (row["text"], row["label"]) == (prompt, asked["answers"][asked["label"]])
            assert row["choice"] == max(expected, key=expected.__getitem__)
            right.setdefault(setting, []).append(row["choice"] == row["label"])
        assert result.summary[f"accuracy/{setting}"] == pytest.approx(sum(right[setting]) / len(ASKED))
    zero_shot, in_context, after = right.values()
    put_right = [learnt for first, learnt, last in zip(zero_shot, in_context, after, strict=True) if last and not first]
    assert result.summary["rec2ftp_queries"] == len(put_right) > 0  # or the next line would say nothing
    assert result.summary["rec2ftp"] == pytest.approx(100 * sum(put_right) / len(put_right))


def test_numbers_do_not_depend_on_the_batch(
    model: PreTrainedModel, task: TextTask, result: iclgd.ComparisonResult
) -> None:
    other = compared(model, task, "evaluation.batch_size=3")
    own = {name: value for name, value in result.summary.items() if name in other.summary and "per_second" not in name}
    del own["peak_memory_bytes"]
    assert {name: other.summary[name] for name in own} == pytest.approx(own, rel=1e-9, abs=1e-12, nan_ok=True)
    for row, again in zip(result.predictions, other.predictions, strict=False):
        assert again["scores"] == pytest.approx(row["scores"], rel=1e-9)


def test_shuffled_labels_are_any_of_a_rows_own_answers(task: TextTask, result: iclgd.ComparisonResult) -> None:
    assert "shuffled_labels/sim_aou" in result.summary
    shown = load_examples(task, "train", None)
    counts: dict[int, int] = {}
    for seed in range(100):
        changed = shuffle_labels(shown, torch.Generator().manual_seed(seed))
        assert changed != shown
        for example, original in zip(changed, shown, strict=True):
            assert (example.fields, example.choices) == (original.fields, original.choices)
            assert example.label in range(len(original.choices))
        counts[changed[2].label] = counts.get(changed[2].label, 0) + 1
    assert sorted(counts) == [0, 1, 2, 3]
    assert min(counts.values()) > 10


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("demonstrations.selection=balanced", "needs classes, but each row has its own answers; take random or first"),
        ("evaluation.calibrate=true", "needs answers that all queries share; here each has its own"),
        ("evaluation.place=first_answer", "needs answers that all queries share; here each has its own"),
    ],
)
def test_what_needs_the_same_answers_is_refused(
    model: PreTrainedModel, task: TextTask, key: str, expected: str
) -> None:
    with pytest.raises(PromptError) as error:
        compared(model, task, key)
    assert str(error.value) == f"{key.removesuffix('=true')} {expected}"


def test_a_rate_is_judged_on_rows_with_their_own_answers(model: PreTrainedModel, task: TextTask) -> None:
    keys = ["finetune.search.learning_rates=[0.01,0.3]", "demonstrations.num_orders=2"]
    found = compared(model, task, *keys, rate="search")
    longest = max(len(tokens(f"Day: {row['text']} It is")) for row in ASKED)
    left = [row for row in TRAIN[NUM_SHOWN:] if len(tokens(f"Day: {row['text']} It is")) <= longest]
    assert {answer for row in left for answer in row["answers"]} <= {
        answer for row in ASKED for answer in row["answers"]
    }
    for row in found.search:
        trained = finetuned(model, [whole_of(of) for of in TRAIN[:NUM_SHOWN]], row["search/learning_rate"])
        scores = [[score(trained, f"Day: {of['text']} It is", answer) for answer in of["answers"]] for of in left]
        right = [of.index(max(of)) == held["label"] for of, held in zip(scores, left, strict=True)]
        assert row["search/accuracy"] == pytest.approx(sum(right) / len(right))
        of_right = [of[held["label"]] for of, held in zip(scores, left, strict=True)]
        assert row["search/log_probability"] == pytest.approx(sum(of_right) / len(of_right), rel=1e-9)
    assert 0 <= found.summary["order_flips/in_context"] <= 1


def test_another_tasks_demonstrations(model: PreTrainedModel, task: TextTask) -> None:
    found = compared(model, task, controls=["other_task"], other_task="embedded_two", num_queries=2)
    assert found.summary["accuracy/zero_shot"] == found.summary["other_task/accuracy/zero_shot"]


def test_answers_with_the_same_tokens_are_refused(task: TextTask) -> None:
    tokenizer, query = word_pieces(), TextExample({"text": "x"}, 0, ("Positive", "positive"))
    with pytest.raises(PromptError) as error:
        own_answers(tokenizer, task, ["a film"], [whole(tokenizer, "a film")], [query])
    assert str(error.value) == "days: the answers 'Positive' and 'positive' to 'a film' have the same tokens"


def test_too_long_answers_are_counted(task: TextTask) -> None:
    short = tiny_model("gpt2", n_positions=40)
    long = [{"text": "rain", "answers": ["warm", "x" * 60], "label": 0}]
    asked = iclgd.data.task_from_rows(TRAIN, long, template="{text}", choices="answers", name="long")
    with pytest.raises(PromptError, match="long: too long even without demonstrations"):
        compared(short, asked)

"""What ``iclgd show-prompt`` prints is what the model gets, and what counts is what the measures rest on."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.cells import cell_len
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from iclgd import config as configs
from iclgd.analysis.observe import Observation
from iclgd.analysis.seen_queries import FinetuningAttention, Reordered, SeenQueries
from iclgd.data.prompts import Prompts
from iclgd.data.text import TextTask, load_task, text_task_names
from iclgd.experiments import text
from iclgd.measures import CALIBRATION, LABELS, ORDERS, TEXT_METRICS, TOKENS
from iclgd.metrics.bootstrap import Resampling
from iclgd.modules.similarities import Similarities
from iclgd.runtime.process import prepare_process
from iclgd.runtime.trainer import make_trainer
from tests.conftest import ROOT
from tests.language_models import (
    LONG_ANSWERS,
    query_batch,
    save,
    tiny_model,
    tiny_tokenizer,
    write_task,
)
from tests.tokenizers import Kind, gpt2, legacy_llama, llama3, unigram, whole

Cli = Callable[..., tuple[int, str, str]]
CONFIG = ROOT / "configs" / "text" / "embedded.yaml"
CHAT = (
    "{{ '<s>Be brief.\n' }}{% for message in messages %}{{ message['role'] + ': ' + message['content'] }}"
    "{{ '\n' if message['role'] == 'user' else '</s>' }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
KEYS = ["demonstrations.num=3", "evaluation={controls: [], other_task: null}", "tracking.mode=disabled"]
OWN_ANSWERS = ["a dull film, 10 times", "Positive"]


def without_weights(folder: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    """Save a model's config and tokenizer alone."""
    tiny_model("gpt2", n_positions=4096).config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def shown(cli: Cli, *arguments: object) -> dict[str, Any]:
    code, out, err = cli("show-prompt", CONFIG, "--json", *KEYS, *arguments)
    assert code == 0, err
    return dict(json.loads(out))


def ids(parts: list[dict[str, Any]]) -> list[int]:
    """Return a sequence's tokens; its parts have to say where they stand."""
    found: list[int] = []
    for part in parts:
        assert part["position"] == len(found)
        found += [token["id"] for token in part["tokens"]]
    return found


@pytest.mark.parametrize(
    ("beginning", "place", "chat"), [(True, "prompt", False), (False, "first_answer", False), (True, "prompt", True)]
)
def test_the_model_gets_what_is_shown(cli: Cli, tmp_path: Path, beginning: bool, place: str, chat: bool) -> None:
    model, task = tmp_path / "model", write_task(tmp_path, answers=LONG_ANSWERS)
    tokenizer = tiny_tokenizer(beginning)
    tokenizer.chat_template = CHAT
    save(model, tiny_model("gpt2"), tokenizer)
    keys = [f"model.name={model}", f"task.name={task}", "task.num_queries=4", f"evaluation.place={place}"]
    keys += [f"demonstrations.chat={chat}"]
    config = configs.load(CONFIG, [*KEYS, *keys, "evaluation.batch_size=1", "evaluation.num_replicates=0"])
    assert isinstance(config, text.Config)
    data, module = text.prepare(config)[:2]
    passes: list[tuple[int, list[int]]] = []  # the length of the past, and the tokens

    def note(_module: Any, _inputs: Any, keywords: dict[str, Any]) -> None:
        past = keywords.get("past_key_values")
        passes.append((0 if past is None else past.get_seq_length(), keywords["input_ids"][0].tolist()))

    module.comparisons[0].model.model.register_forward_pre_hook(note, with_kwargs=True)
    prepare_process(num_threads=1)
    trainer = make_trainer(config.trainer, None, [], [], is_replicated=True)
    trainer.fit(module, data)
    of_steps = [tokens for _, tokens in passes]
    passes.clear()
    trainer.test(module, data, verbose=False)
    (_, context), *asked = passes
    pages = [shown(cli, *keys, "--query", query) for query in range(4)]
    assert of_steps == [ids(step) for step in pages[0]["finetuning"]]
    for page in pages:
        settings, counting = page["settings"], page["tokens"]
        whole_prompt = ids(settings["in_context"])
        assert whole_prompt[: len(context)] == context
        prompts = {"zero_shot": (0, ids(settings["zero_shot"])), "in_context": (len(context), whole_prompt)}
        first = [token["id"] for token in page["answers"][0]["tokens"]] if place == "first_answer" else []
        for name, (num_past, prompt) in prompts.items():
            assert prompt[len(prompt) - len(first) :] == first
            assert is_begun(num_past, prompt[num_past:], asked)
            for answer in page["answers"]:
                own = [token["id"] for token in answer["tokens"]]
                if len(own) > 1:  # the others are scored beside them
                    assert is_begun(num_past, [*prompt[: len(prompt) - len(first)], *own[:-1]][num_past:], asked)
            assert counting[name]["last"] == [len(prompt) - 1]
        assert settings["finetuned"] == settings["zero_shot"]
        query = data.prompts[0].queries[page["query"]]
        assert [whole_prompt[index] for index in counting["in_context"]["query"]] == [*query, *first]
        assert counting["in_context"]["demonstrations"] == module.comparisons[0].attention.positions.tolist()
        assert page["label"] == data.prompts[0].labels[page["query"]]
    assert len({json.dumps(page["settings"]) for page in pages}) == 4
    if chat:
        texts = [part["text"] for part in pages[3]["settings"]["in_context"]]
        assert [texts[0], texts[2]] == ["<s>Be brief.\n", "</s>"]
        assert texts[1].startswith("user: Day: ")
        assert texts[1].endswith(
            (" It is\nassistant: quite bad", " It is\nassistant: good", "assistant: neither of them")
        )
        assert texts[-1] == f"user: {data.prompts[0].query_texts[3]}\nassistant:"


def is_begun(num_past: int, tokens: list[int], passes: list[tuple[int, list[int]]]) -> bool:
    """Say whether a pass has these tokens; what follows them changes nothing."""
    return any(past == num_past and seen[: len(tokens)] == tokens for past, seen in passes)


@pytest.mark.parametrize("kind", [gpt2, legacy_llama, llama3, unigram])
def test_tokens_are_named_and_say_their_text(cli: Cli, tmp_path: Path, kind: Kind) -> None:
    tokenizer = kind()
    page = shown(cli, f"model.name={without_weights(tmp_path / 'm', tokenizer)}", f"task.name={write_task(tmp_path)}")
    parts = [*page["settings"]["in_context"], *page["answers"], *(part for step in page["finetuning"] for part in step)]
    assert {part["name"] for part in parts} == {"demonstration", "separator", "query", "answer"} | (
        {"start"} if kind is not gpt2 else set()
    )
    for part in parts:
        for token in part["tokens"]:
            assert token["piece"] == tokenizer.backend_tokenizer.id_to_token(token["id"])
            assert token["is_special"] == (token["piece"] in ("<s>", "</s>", "<unk>"))
        assert part["tokens"]
    for part in page["settings"]["in_context"]:
        if part["name"] in ("query", "demonstration"):
            assert "ay:" in part["text"].replace(" ", "")
    start = page["settings"]["in_context"][0]
    own = {gpt2: "demonstration", unigram: "</s>", legacy_llama: "<s>", llama3: "<s>"}[kind]
    assert own in (start["name"], start["text"])


def row_of(task: TextTask, index: int) -> dict[str, Any]:
    """Return a row of a shipped task."""
    row: dict[str, Any] = {field: f"a gem of {field}, very {index}" for field in task.fields}
    if isinstance(task.choices, tuple):
        row |= dict(zip(task.choices, OWN_ANSWERS, strict=True))
    elif task.choices is not None:
        row |= {"choices": {"text": OWN_ANSWERS, "label": ["A", "B"]}}
    return row | {task.label: "AB"[index % 2] if task.choice_names else index % 2}


@pytest.mark.parametrize("kind", [gpt2, legacy_llama, llama3, unigram])
def test_answers_of_all_shipped_tasks_are_those_of_whole_texts(cli: Cli, tmp_path: Path, kind: Kind) -> None:
    tokenizer = kind()
    folder = without_weights(tmp_path / "model", tokenizer)
    for name in text_task_names():
        task = load_task(name)
        rows = [row_of(task, index) for index in range(4)]
        answers = list(task.answers) or OWN_ANSWERS
        data = tmp_path / name
        data.mkdir()
        for split in ("train", "validation"):
            (data / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        page = shown(cli, f"model.name={folder}", f"task.name={name}", f"task.data_dir={tmp_path}", "--query", 2)
        assert [answer["text"] for answer in page["answers"]] == answers
        prompt = task.template.format(**{field: f"a gem of {field}, very 2" for field in task.fields})
        query = [token["id"] for token in page["settings"]["zero_shot"][-1]["tokens"]]
        for answer, text_of_answer in zip(page["answers"], answers, strict=True):
            tokens = [token["id"] for token in answer["tokens"]]
            assert tuple(query + tokens) == whole(tokenizer, f"{prompt} {text_of_answer}"), (name, text_of_answer)


def observation(generator: torch.Generator, with_context: bool) -> Observation:
    """Return random numbers: 4 queries of 6 tokens, 2 layers, 2 heads of 3, a context of 9 tokens."""

    def drawn(*shape: int) -> Tensor:
        return torch.randn(4, *shape, generator=generator)

    hidden, visible = drawn(2, 2, 9), torch.ones(4, 2, 9, dtype=torch.bool)
    updates = drawn(2, 2, 3) if with_context else None
    return Observation(
        answer_scores=drawn(3),
        outputs=drawn(2, 6),
        queries=drawn(2, 6),
        scores=drawn(2, 2, 6),
        visible=torch.ones(4, 2, 6, dtype=torch.bool),
        start_scores=drawn(2, 2, 1),
        context_scores=hidden if with_context else None,
        context_visible=visible if with_context else None,
        context_updates=updates,
        weight_updates=drawn(2, 2, 3) if with_context else None,
        next_token=drawn(40).log_softmax(-1),
    )


def changed(seen: Observation, kind: str, positions: Tensor, generator: torch.Generator) -> Observation:
    """Return an observation with other numbers of one kind of tokens."""

    def other(tensor: Tensor) -> Tensor:
        return torch.randn(tensor.shape, generator=generator)

    changes: dict[str, Any] = {}
    if kind == "answers":
        changes |= {"answer_scores": seen.answer_scores.roll(1, 1), "next_token": other(seen.next_token)}
    elif kind == "last":
        changes["outputs"] = other(seen.outputs)
    elif kind == "query":
        changes["scores"] = other(seen.scores)
        if seen.weight_updates is not None:
            changes["weight_updates"] = other(seen.weight_updates)
    elif kind == "start and separators":
        changes["start_scores"] = other(seen.start_scores)
    if seen.context_scores is not None and kind in ("demonstrations", "start and separators"):
        assert seen.context_updates is not None
        scores = other(seen.context_scores)
        kept, taken = (seen.context_scores, scores) if kind == "demonstrations" else (scores, seen.context_scores)
        changes["context_scores"] = kept.index_copy(-1, positions, taken[..., positions])
        if kind == "demonstrations":
            changes["context_updates"] = other(seen.context_updates)
    return replace(seen, **changes)


@pytest.mark.parametrize("kind", TOKENS)
def test_measures_rest_on_the_tokens_that_they_name(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    prompts = Prompts((0,), ((1,), (2,), (3,)), ((4, 5), (6, 7, 8)), (0, 1), (9,), ((3,),) * 4, (0, 1, 2, 0))
    positions = torch.tensor(prompts.demonstration_positions)
    assert positions.tolist() == [1, 2, 4, 5, 6]
    batch = query_batch([6, 6, 6, 6])
    settings = [observation(generator, name == "in_context") for name in ("zero_shot", "in_context", "finetuned")]
    others = [changed(seen, kind, positions, generator) for seen in settings]
    queries = torch.randn(2, 5, 6, generator=generator)
    found = []
    for zero_shot, in_context, finetuned in (settings, others):
        attention = FinetuningAttention(queries, positions, [2, 3], torch.tensor([0, 1]))
        learning = {"in_context": in_context, "finetuned": finetuned}
        other_order = {name: Reordered(each.next_token.flip(0), each.predictions) for name, each in learning.items()}
        free = dict.fromkeys(("zero_shot", "in_context", "finetuned"), torch.zeros(3))
        seen = SeenQueries(batch, zero_shot, in_context, finetuned, attention, 0, "gaussian", [other_order], free)
        metrics = Similarities(2, Resampling(0), "gaussian", [ORDERS, CALIBRATION, LABELS]).metrics
        found.append({name: TEXT_METRICS[name].inputs(seen) for name in metrics})
    for name, entry in TEXT_METRICS.items():
        pairs = zip(*(of[name] for of in found), strict=True)
        is_changed = any(one is not None and not torch.equal(one, other) for one, other in pairs)
        if name == "kendall_examples_length" or name.endswith("_even"):
            is_changed |= kind in entry.tokens  # of which they have the numbers
        assert is_changed == (kind in entry.tokens), name


def test_it_fits_a_terminal_whatever_rows_hold(cli: Cli, tmp_path: Path) -> None:
    rows = [
        {"text": f"\x1b[2J wipe\n{'好电影' * 30} {'x' * 90} <s> [red] {index}", "label": index % 2}
        for index in range(6)
    ]
    task = write_task(tmp_path, train=rows, validation=rows)
    folder = without_weights(tmp_path / "model", legacy_llama())
    keys = [f"model.name={folder}", f"task.name={task}"]
    code, out, err = cli("show-prompt", CONFIG, *KEYS, *keys)
    assert code == 0, err
    assert all(character.isprintable() or character == "\n" for character in out)
    assert "[<s>]" in out
    assert "[red]" in out.replace(" ", "").replace("\n", "")
    assert "right" in out
    assert max(map(cell_len, out.splitlines()[1:])) <= 80  # the first one has a path


def test_a_draw_is_that_of_its_own_seed(cli: Cli, tmp_path: Path) -> None:
    keys = [
        CONFIG,
        *KEYS,
        f"model.name={without_weights(tmp_path / 'model', gpt2())}",
        f"task.name={write_task(tmp_path)}",
    ]
    _, own, _ = cli("show-prompt", *keys, "demonstrations.seed=4")
    _, drawn, _ = cli("show-prompt", *keys, "demonstrations.seed=3", "demonstrations.num_draws=2", "--draw", 1)
    _, first, _ = cli("show-prompt", *keys, "demonstrations.seed=3", "demonstrations.num_draws=2")
    assert drawn == own != first


def test_mistakes_get_one_line(cli: Cli, tmp_path: Path, small_config: Path) -> None:
    folder = without_weights(tmp_path / "model", gpt2())
    keys = [*KEYS, f"model.name={folder}", f"task.name={write_task(tmp_path)}"]
    for arguments, message in (
        ([CONFIG, *keys, "--query", 23], "--query must be from 0 to 22, as the run asks so many; got 23"),
        ([CONFIG, *keys, "--query=-1"], "--query must be from 0 to 22, as the run asks so many; got -1"),
        ([CONFIG, *keys, "--draw", 1], "--draw must be from 0 to 0, as demonstrations.num_draws says; got 1"),
        ([small_config], "small: no config of a text run, but experiment: regression"),
        ([CONFIG, *keys, f"model.name={tmp_path}"], f"model.tokenizer (or model.name): {tmp_path} has no tokenizer"),
        (
            [CONFIG, *keys, "demonstrations.num=99"],
            "demonstrations.num must be at most 30, the training rows there are",
        ),
    ):
        code, out, err = cli("show-prompt", *arguments)
        assert (code, out) == (2, "")
        assert err.startswith(f"iclgd: {message}")
        assert err.count("\n") == 1

import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import XGLMConfig

from benchmarks import _text_speed as speed
from benchmarks import text
from benchmarks._text_floor import ProcessorFloor, Product, Shape, floating_point_operations, matrix_products
from benchmarks._text_subject import SHAPES, Subject, random_subject
from benchmarks.peers import text_batched, text_loop
from iclgd.data.prompts import Prompts
from tests.forked import Forked

# As iclgd.runtime.process.prepare_process does; the second one comes where Slurm is installed.
pytestmark = pytest.mark.filterwarnings("ignore:::lightning.pytorch", "ignore:The `srun` command is available")
DEMONSTRATIONS = 6


@pytest.fixture(scope="module")
def subject() -> Subject:
    drawn = random_subject("tiny", SHAPES["tiny"], DEMONSTRATIONS, num_queries=4)
    # Weights so large that finetuning and demonstrations change something; a second token in one of the answers.
    with torch.no_grad():
        for parameter in drawn.model.model.parameters():
            parameter.mul_(3.0)
    first, second = drawn.prompts.answers
    return dataclasses.replace(drawn, prompts=dataclasses.replace(drawn.prompts, answers=(first, (*second, 7))))


@pytest.mark.parametrize("peer", speed.PEERS)
def test_the_peer_computes_what_we_compute(peer: str, subject: Subject) -> None:
    errors = speed.check_peer(peer, subject, threads=1)
    assert errors["largest_difference"] < 1e-9
    assert errors[speed.RANKS] < 1e-3  # demonstrations have some tokens in common


@pytest.mark.parametrize(
    ("peer", "part", "spoil"),
    [
        ("loop", "softmax", np.flip),
        ("loop", "cosine", np.abs),
        ("loop", "heads", lambda parts: parts[::-1]),
        ("batched", "cosine", np.abs),
        ("published", "heads", lambda parts: parts[::-1]),
    ],
)
def test_a_peer_that_computes_something_else_is_not_timed(
    peer: str, part: str, spoil: Callable[[Any], Any], subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = text_loop if peer == "loop" else text_batched
    right = getattr(module, part)
    monkeypatch.setattr(module, part, lambda *arguments: spoil(right(*arguments)))
    with pytest.raises(RuntimeError, match=rf"the peer \({peer}\) computes something else: "):
        speed.check_peer(peer, subject, threads=1)


def test_the_peers_seconds_are_for_all_queries(subject: Subject) -> None:
    timing, means = speed.run_loop(subject, num_queries=2)
    assert timing.total == timing.finetuning + timing.queries
    assert 0 < timing.finetuning < timing.queries
    assert {"sim_aou", "sim_aou_random/layer_01", "kendall_examples_random", "accuracy/finetuned"} <= set(means)


def test_peer_measures_the_finetuned_copy_and_leaves_the_model(subject: Subject) -> None:
    base = text_loop.eager_copy(subject.model.model)
    finetuned, queries = text_loop.finetune(base, subject.prompts, learning_rate=0.1)
    size = base.config.n_embd
    for before, after in zip(base.transformer.h, finetuned.transformer.h, strict=True):
        change = after.attn.c_attn.weight - before.attn.c_attn.weight
        assert (change[:, :size] == 0).all()
        assert (change[:, size:] != 0).all()
    num_tokens = sum(len(demonstration) for demonstration in subject.prompts.demonstrations)
    assert [each.shape for each in queries] == [(num_tokens, size)] * 2


def test_medians_and_ratios_are_pairwise() -> None:
    pairs = [(speed.Timing(1.0, 1.0, 1.0), speed.Timing(2.0, 2.0 * factor, 1.0)) for factor in (1.0, 3.0, 4.0)]
    assert speed.median_ratio(pairs, lambda timing: timing.total) == 4.0
    assert speed.median_ratio(pairs, lambda timing: timing.finetuning) == 2.0


def test_the_benchmark_prints_a_json_line_with_the_ratio() -> None:
    sizes = ["--demonstrations", "4", "--queries", "8", "--peer-queries", "2", "--repeats", "2"]
    code, out, err = Forked("--models", "tiny", *sizes, main=lambda _: text.main()).result()
    assert code == 0, err
    (record,) = (json.loads(line) for line in out.splitlines())
    assert (record["benchmark"], record["queries"], record["demonstrations"]) == ("text/tiny", 8, 4)
    assert (record["repeats"], record["loop_ran_queries"], set(record["peers"])) == (2, 2, set(speed.PEERS))
    loop = record["peers"]["loop"]
    assert len(loop["ratios"]) == 2
    assert loop["ours_is_times_as_fast"] > 1
    assert loop["ours_without_finetuning_is_times_as_fast"] > 1
    assert all(peer["largest_difference"] < 1e-6 for peer in record["peers"].values())
    assert 0 < record["fraction_of_floor"] < 1
    table = err.splitlines()[-2:]
    assert "of the floor" in table[0]
    assert str(loop["ours_is_times_as_fast"]) in table[1]


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["text", "--models", "--gpu"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert text.main() == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "iclgd bench: --gpu needs a CUDA GPU, and there is none; not measured: xglm" in captured.err


def test_the_gpu_part_runs_on_a_cpu() -> None:
    shape = XGLMConfig(vocab_size=500, d_model=32, ffn_dim=64, num_layers=2, attention_heads=4)
    record = text.measure_gpu(shape, num_queries=5, num_demonstrations=3, accelerator="cpu")
    assert 0 < record["fraction_of_floor"] < 1
    assert record["queries_per_second"] > 0


def test_operations_are_counted_by_hand() -> None:
    shape = Shape.of(XGLMConfig(vocab_size=10, d_model=2, ffn_dim=8, num_layers=3, attention_heads=1))
    prompts = Prompts((0,), ((1,), (2,)), ((3, 4, 1),), (0,), (5,), ((6, 7), (8, 9)), (0, 1))
    for batch_size in (1, 2):
        counted = floating_point_operations(matrix_products(shape, prompts, batch_size))
        weights = 3 * (4 * 2 * 2 + 2 * 2 * 8)
        # Five tokens of context; scores and their use: two products of width 2, causal ones half of it.
        assert counted["demonstrations"] == 2 * (5 * weights + 3 * 2 * 2 * 5**2 / 2)
        own, past = 3 * 2 * 2 * 2 * 2**2 / 2, 3 * 2 * 2 * 4 * 5
        assert counted["queries"] == 2 * (3 * (4 * weights + 2 * 20 + own) + past)
        # The last token has no loss, the first layer's input no gradient.
        below, gradients = 3 * 2 * 2, 3 * 2 * 2 * 2
        assert counted["finetuning"] == 2 * (4 * (2 * weights - below + gradients) + 2 * 3 * 20)


def test_the_floor_is_what_products_take_in_their_own_shapes() -> None:
    shape = Shape(width=32, ffn=64, num_layers=2, num_heads=2, vocabulary=100)
    floor = ProcessorFloor(shape)
    small, large = Product(8, 32, 96), Product(800, 32, 96)
    seconds = {product: floor.seconds({"a": Counter({product: 10})}) for product in (small, large)}
    assert 0 < seconds[small] < seconds[large] / 2
    of_gradient, of_heads = Product(8, 96, 32), Product(8, 16, 8, at_once=2, is_weight=False)
    assert floor.seconds({"a": Counter({of_gradient: 1}), "b": Counter({of_heads: 1})}) > 0


@pytest.mark.slow
def test_a_run_in_a_process_of_its_own(tmp_path: Path, subject: Subject) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = {word: index for index, word in enumerate(["<s>", "<unk>", ":", "yes", "no", "a", "b"])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    subject.model.model.save_pretrained(tmp_path / "model")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>").save_pretrained(
        tmp_path / "model"
    )
    (tmp_path / "words.yaml").write_text(
        'version: 1\ndescription: words\ntemplate: "{text} :"\nanswers: ["no", "yes"]\nsource: {data_dir: "."}\n'
    )
    for split in ("train", "validation"):
        lines = [json.dumps({"text": "a b a", "label": index % 2}) for index in range(4)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    options = text.parse(["--task", str(tmp_path / "words.yaml"), "--demonstrations", "4"])
    (place := tmp_path / "place").mkdir()
    peak, seconds = text.run_in_process(str(tmp_path / "model"), 6, place, options)  # more than the task has
    assert 10 * 2**20 < peak < 10 * 2**30
    assert seconds > 0
    assert text.files_beyond_a_runs_own(place) == []
    (run,) = (place / "runs" / "memory").iterdir()
    (run / "figures" / "deeper").mkdir(parents=True)
    for name in ("figures/deeper/a.pdf", "model.ckpt"):
        (run / name).touch()
    assert [Path(name).name for name in text.files_beyond_a_runs_own(place)] == ["a.pdf", "model.ckpt"]


def test_memory_is_compared_with_that_of_the_fewest_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "run_in_process", lambda folder, number, place, options: (number * 2.0**20, 1.0))
    few, many = text.measure_memory("folder/model", text.parse([]))
    assert (few["queries"], few["peak_memory_mib"], few["times_that_of_the_fewest"]) == (64, 64.0, 1.0)
    assert (many["queries"], many["peak_memory_mib"], many["times_that_of_the_fewest"]) == (1024, 1024.0, 16.0)


@pytest.mark.parametrize(("option", "value"), [("--queries", "0"), ("--what", "beauty")])
def test_bad_options_are_refused(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        text.parse([option, value])
    assert f"argument {option}: " in capsys.readouterr().err

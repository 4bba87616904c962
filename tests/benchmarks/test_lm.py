import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks import lm
from benchmarks._step_by_step import StandStill, Timing, take_turns, trainer_steps
from benchmarks.peers import nanogpt
from iclgd.experiments.language_modeling import Config, prepare

# As iclgd.runtime.process.prepare_process does; the second one comes where Slurm is installed.
pytestmark = pytest.mark.filterwarnings("ignore:::lightning.pytorch", "ignore:The `srun` command is available")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let everything be small."""
    sizes = (
        "model={num_layers: 2, num_heads: 2, hidden_size: 16, context_length: 16}",
        "task={num_tokens: 16, vocabulary_size: 300}",
        "training.batch_size=2",
    )
    monkeypatch.setitem(lm.SIZES, "tiny", sizes)
    monkeypatch.setattr(lm, "NUM_WORDS", 1000)
    monkeypatch.setattr(lm, "LENGTHS", (8,))
    monkeypatch.setenv("ICLGD_RUNS", str(tmp_path))  # so that what the benchmark sets is taken back


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return lm.load(lm.parse(["--turns", "1"]), tmp_path)


def test_the_benchmark_prints_a_json_line_for_each_loop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lm, "utilization", lambda flops, device, precision: flops / 1e9)
    monkeypatch.setattr(lm, "share_memory_among_threads", lambda: None)  # nothing takes it back
    monkeypatch.setattr(sys, "argv", ["lm", "--turns", "2", "--warm-up", "1"])
    assert lm.main() == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["benchmark"], line["loop"]) for line in lines] == [
        *(("lm/tiny/training", loop) for loop in ("trainer", "plain_loop", "nanogpt")),
        *((f"lm/tiny/{part}", loop) for part in ("attention", "function_8") for loop in ("momentum", "softmax")),
    ]
    for line in lines:
        assert 0 < line["minimum"] <= line["tokens_per_second"] <= line["maximum"]
        assert line["turns"] == 2
    flops_per_token = 6 * (2 * 12 * 16**2 + 300 * 16) + 12 * 2 * 16 * 16
    for line in lines[:5]:
        share = line["tokens_per_second"] * flops_per_token / 1e9
        assert line["model_flops_utilization"] == pytest.approx(share, abs=1e-4)
    assert all(line["largest_difference_of_losses"] < 1e-5 for line in lines[:3])
    assert "model_flops_utilization" not in lines[5]  # attention alone is not the model


def test_loops_that_train_otherwise_are_not_timed(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(nanogpt.GPT, "copy_from", lambda peer, model: None)
        with pytest.raises(RuntimeError, match="the peer computes something else: relative difference of losses"):
            lm.check_loops(config)
    monkeypatch.setattr(nanogpt, "optimizer_of", lambda model, training: torch.optim.SGD(model.parameters()))
    with pytest.raises(RuntimeError, match="the plain loop computes something else: relative difference of losses"):
        lm.check_loops(config)


def test_the_peers_windows_are_of_its_file(tmp_path: Path) -> None:
    tokens = np.arange(100, dtype=np.uint16)
    tokens.tofile(tmp_path / "tokens.bin")
    inputs, targets = next(nanogpt.windows(tmp_path / "tokens.bin", 7, 5, CPU, seed=0))
    assert inputs.shape == targets.shape == (5, 7)
    assert (targets == inputs + 1).all()
    assert (inputs.diff() == 1).all()
    assert len(inputs[:, 0].unique()) > 1


def test_the_peer_is_given_the_text_of_our_training(config: Config, tmp_path: Path) -> None:
    lm.write_tokens(tmp_path / "tokens.bin", config)
    tokens = np.fromfile(tmp_path / "tokens.bin", np.uint16).tolist()
    first, following = next(lm.our_batches(prepare(config)[0], config))
    assert prepare(config)[1].fused  # the peer's AdamW is
    windows = {tuple(tokens[start : start + 17]) for start in range(len(tokens))}
    for sequence in torch.cat([first, following[:, -1:]], 1).tolist():
        assert tuple(sequence) in windows


def test_attention_functions_have_the_layers_shapes(config: Config) -> None:
    momentum, plain = (next(steps) for steps in lm.function_loops(config, 8).values())
    assert momentum.shape == plain.shape == (2, 8, 2, 8)
    assert momentum.dtype == plain.dtype == torch.bfloat16


def test_medians_and_ratios_are_pairwise() -> None:
    timings = {
        "trainer": [Timing(2.0, 1.0), Timing(4.0, 1.0), Timing(1.0, 1.0)],
        "peer": [Timing(1.0, 3.0), Timing(8.0, 3.0), Timing(3.0, 1.0)],
    }
    ours, peer = lm.report(timings, "tiny/training", num_tokens=16)
    assert (ours["tokens_per_second"], ours["trainer_is_times_as_fast"], ours["processor_time_ratio"]) == (
        8.0,
        1.0,
        1.0,
    )
    assert (peer["benchmark"], peer["loop"], peer["turns"]) == ("lm/tiny/training", "peer", 3)
    assert (peer["minimum"], peer["maximum"]) == (2.0, 16.0)
    assert (peer["trainer_is_times_as_fast"], peer["processor_time_ratio"]) == (2.0, 3.0)  # of 0.5, 2, 3 and of 3, 3, 1


def test_loops_take_turns() -> None:
    taken: list[str] = []

    def loop(name: str) -> Iterator[Tensor]:
        for _ in range(5):
            taken.append(name)
            yield torch.zeros(())

    loops = {"a": loop("a"), "b": loop("b")}
    timings = take_turns(loops, num_steps=2, num_turns=2, num_warm_up=1, device=CPU)
    assert "".join(taken) == "ab" + 2 * "aabb"
    assert [len(each) for each in timings.values()] == [2, 2]
    with pytest.raises(RuntimeError, match="a loop has ended 1 steps too early"):
        take_turns(loops, num_steps=1, num_turns=1, num_warm_up=0, device=CPU)


def test_what_goes_wrong_in_a_loop_is_raised() -> None:
    class Broken:
        def fit(self, *arguments: object) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(trainer_steps(Broken(), None, None, StandStill()))  # type: ignore[arg-type]


@pytest.mark.parametrize(("option", "value"), [("--turns", "0"), ("--batch-size", "-1"), ("--what", "beauty")])
def test_bad_options_are_refused(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        lm.parse([option, value])
    assert f"argument {option}: " in capsys.readouterr().err


def test_the_options_are_those_of_the_training(tmp_path: Path) -> None:
    options: argparse.Namespace = lm.parse(["--turns", "4", "--steps", "3", "--batch-size", "6", "--compile"])
    config = lm.load(options, tmp_path)
    assert (config.trainer.max_steps, config.training.batch_size, config.trainer.compile) == (3 + 4 * 3, 6, True)

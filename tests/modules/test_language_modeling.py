import json
import math
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from iclgd import config as configs
from iclgd.analysis.gradients import clip_by_global_norm
from iclgd.checks import InputError
from iclgd.data.few_shot_language import VOCABULARY, FewShotLanguageConfig, TokenBatch
from iclgd.data.language_datamodule import LanguageDataModule, training_batch
from iclgd.experiment import resume, run
from iclgd.experiments.language_modeling import Config, prepare
from iclgd.models.gpt import GPTConfig, build_gpt
from iclgd.modules.language_modeling import (
    LanguageModelingModule,
    TrainingConfig,
    losses_of,
    next_logits,
    next_token_losses,
    shown_numbers,
)
from iclgd.runtime.process import prepare_process
from iclgd.runtime.trainer import make_trainer
from tests.conftest import ROOT
from tests.language_models import assert_close_weights

EMBEDDED = ROOT / "configs" / "language_modeling" / "embedded_model.yaml"
WIKITEXT2 = ROOT / "configs" / "language_modeling" / "wikitext2_tiny.yaml"
SMALL = [
    "task={num_demonstrations: 5, num_words: 2}",
    "model={num_layers: 2, num_heads: 2, hidden_size: 16, context_length: 32}",
    "training={batch_size: 4, warmup_steps: 3, growth_steps: 4}",
    "evaluation={every_num_steps: 4, num_sequences: 6}",
    "trainer={max_steps: 10, accelerator: cpu, precision: 32-true}",
    "tracking.mode=disabled",
]


def small(*overrides: str) -> Config:
    return load(EMBEDDED, *SMALL, *overrides)


def small_corpus(folder: Path, *overrides: str) -> Config:
    """Return the same on the text in a folder."""
    task = f"task={{data_dir: {folder}, hub_config: null, num_tokens: 16, vocabulary_size: 300}}"
    return load(WIKITEXT2, task, *SMALL[1:], "evaluation.lengths=[9, 32]", *overrides)


def load(path: Path, *overrides: str) -> Config:
    prepare_process(num_threads=1)
    config = configs.load(path, overrides)
    assert isinstance(config, Config)
    return config


def write_corpus(folder: Path) -> Path:
    """Write a text whose training part is gone through more than once in a few steps; return its folder."""
    folder.mkdir()
    words = ["rain", "falls", "on", "the", "stone", "house", "while", "a", "bird", "sings", "of", "winter"]
    generator = torch.Generator().manual_seed(0)
    for split, num_words in (("train", 100), ("validation", 165)):
        drawn = [words[index] for index in torch.randint(len(words), (num_words,), generator=generator).tolist()]
        (folder / f"{split}.txt").write_text("\n".join(map(" ".join, zip(*[iter(drawn)] * 5, strict=True))))
    return folder


def train(config: Config) -> tuple[LanguageModelingModule, dict[str, float]]:
    data, module = prepare(config)
    trainer = make_trainer(config.trainer, None, [], [])
    trainer.fit(module, data)
    return module, {name: value.item() for name, value in trainer.callback_metrics.items()}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_trainer_takes_the_steps_of_a_plain_loop(precision: str) -> None:
    config = small(f"trainer.precision={precision}")
    trained, _ = train(config)
    _, module = prepare(config)
    training = config.training
    weights = dict(module.model.named_parameters())
    decaying = {name for name, weight in weights.items() if weight.dim() > 1 and ".wpe." not in name}
    groups = [
        {"params": [weight for name, weight in weights.items() if (name in decaying) == decays], "weight_decay": decay}
        for decays, decay in ((True, training.weight_decay), (False, 0.0))
    ]
    optimizer = torch.optim.AdamW(groups, betas=(training.beta1, training.beta2))
    for step in range(10):
        tokens, is_label = training_batch(config.task, 0, step, 4, growth_steps=4)
        assert is_label is not None
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            logits = module.model(tokens[:, :-1]).logits.float()
        losses = torch.nn.functional.cross_entropy(logits.mT, tokens[:, 1:], reduction="none")
        loss = losses.mean() + training.label_weight * losses[is_label[:, 1:]].mean()
        optimizer.zero_grad()
        loss.backward()
        clip_by_global_norm(list(module.model.parameters()), training.gradient_clip)
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate_at(step, 10)
        optimizer.step()
    for name, weight in module.model.state_dict().items():
        torch.testing.assert_close(trained.model.state_dict()[name], weight, rtol=1e-4, atol=1e-6)


def test_a_step_in_one_kernel_is_the_same_step() -> None:
    config = small("trainer.precision=64-true")
    trained, _ = train(config)
    data, module = prepare(config)
    assert not module.fused  # the language of the embedded model
    module.fused = True
    trainer = make_trainer(config.trainer, None, [], [])
    trainer.fit(module, data)
    assert all(group["fused"] for group in trainer.optimizers[0].param_groups)
    for name, weight in module.model.state_dict().items():
        torch.testing.assert_close(trained.model.state_dict()[name], weight, rtol=1e-9, atol=1e-12)


def test_what_is_logged() -> None:
    config = small()
    module, metrics = train(config)
    data, _ = prepare(config)
    names = [f"accuracy/{number}_demonstrations" for number in (0, 1, 2, 4)]
    assert sorted(metrics) == sorted(
        [*names, "accuracy/few_shot", "train/loss", "val/label_loss", "val/loss", "val/perplexity"]
    )
    batch = data.evaluation_batch()
    assert batch.is_label is not None
    with torch.no_grad():
        logits = next_logits(module.model, batch.tokens)
        losses = losses_of(logits, batch.tokens, is_text=False)
    is_label, is_right = batch.is_label[:, 1:], logits.argmax(-1) == batch.tokens[:, 1:]
    assert metrics["val/loss"] == pytest.approx(losses.mean().item(), rel=1e-5)
    assert metrics["val/perplexity"] == pytest.approx(math.exp(metrics["val/loss"]), rel=1e-5)
    assert metrics["val/label_loss"] == pytest.approx(losses[is_label].mean().item(), rel=1e-5)
    of_labels = is_right[is_label].view(6, 5)
    assert metrics["accuracy/few_shot"] == pytest.approx(of_labels.double().mean().item())
    for name, number in zip(names, (0, 1, 2, 4), strict=True):
        assert metrics[name] == pytest.approx(of_labels[:, number].double().mean().item())


def test_text_without_labels_is_trained_on_and_has_no_accuracies(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = FewShotLanguageConfig.sample

    def text(language: FewShotLanguageConfig, num_sequences: int, generator: torch.Generator) -> TokenBatch:
        return TokenBatch(sample(language, num_sequences, generator).tokens)

    _, numbers = train(small("training.label_weight=0"))
    monkeypatch.setattr(FewShotLanguageConfig, "sample", text)
    _, metrics = train(small())
    assert sorted(metrics) == ["train/loss", "val/loss", "val/perplexity"]
    assert metrics == pytest.approx({name: numbers[name] for name in metrics}, rel=1e-5)


def test_a_loss_that_is_not_finite_gives_no_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    _, metrics = train(small("training={learning_rate: 1.0e30, warmup_steps: 0, gradient_clip: 1.0e30}"))
    lines = [line for line in capsys.readouterr().err.splitlines() if "not finite" in line]
    assert len(lines) == 1
    assert lines[0].startswith("warning: the training loss is not finite from step 2 on; ")
    for name in ("train/loss", "val/loss", "accuracy/few_shot", "accuracy/1_demonstrations"):
        assert math.isnan(metrics[name]), name


def test_training_lowers_the_loss() -> None:
    config = small("trainer.max_steps=60", "evaluation.every_num_steps=60", "training.learning_rate=3.0e-3")
    data, module = prepare(config)
    with torch.no_grad():
        before = next_token_losses(module.model, data.evaluation_batch().tokens).mean().item()
    _, metrics = train(config)
    assert metrics["val/loss"] < before - 0.5


def test_learning_rate_rises_and_falls() -> None:
    training = TrainingConfig(learning_rate=1.0, warmup_steps=10)
    rates = [training.learning_rate_at(step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1.0, abs=0.03)
    assert rates[100] == pytest.approx(0.0)
    assert TrainingConfig(learning_rate=2.0, final_share=0.1).learning_rate_at(1000, 1000) == pytest.approx(0.2)
    assert TrainingConfig(schedule="constant", warmup_steps=0).learning_rate_at(5, 10) == TrainingConfig().learning_rate


@pytest.mark.parametrize("language", ["few_shot", "corpus"])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    monkeypatch.setenv("ICLGD_RUNS", str(tmp_path))
    config = small() if language == "few_shot" else small_corpus(write_corpus(tmp_path / "corpus"))
    whole = run(config, "whole").directory
    assert whole is not None
    take_step, stopped = LanguageModelingModule.training_step, []

    def stop_in_the_second_epoch(module: LanguageModelingModule, batch: TokenBatch, batch_idx: int) -> torch.Tensor:
        if module.global_step == 6 and not stopped:
            stopped.append(True)
            raise KeyboardInterrupt
        return take_step(module, batch, batch_idx)

    monkeypatch.setattr(LanguageModelingModule, "training_step", stop_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt, match="continue with: iclgd resume"):
        run(config, "stopped")
    (path,) = (tmp_path / "stopped").iterdir()
    assert not (path / "model").exists()
    resumed = resume(path).directory
    assert resumed is not None
    assert resumed.read_metrics() == whole.read_metrics()
    assert [record["step"] for record in whole.read_metrics()] == [0, 4, 8, 10]
    assert ["train/loss" in record for record in whole.read_metrics()] == [False, True, True, True]
    first, second = ((each.path / "model" / "model.safetensors").read_bytes() for each in (whole, resumed))
    assert first == second


KILLED = """
import os, signal
from iclgd.experiment import run
from iclgd.modules.language_modeling import LanguageModelingModule
from tests.modules.test_language_modeling import small
take_step = LanguageModelingModule.training_step
def step(module, batch, batch_idx):
    if module.global_step == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return take_step(module, batch, batch_idx)
LanguageModelingModule.training_step = step
run(small("training.accumulation=2"), "killed")
"""


def test_a_killed_run_ends_as_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICLGD_RUNS", str(tmp_path))
    whole = run(small("training.accumulation=2"), "whole").directory
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    (path,) = (tmp_path / "killed").iterdir()
    resumed = resume(path).directory
    assert whole is not None
    assert resumed is not None
    assert resumed.read_metrics() == whole.read_metrics()
    for name in ("model/model.safetensors", "samples.txt"):
        assert (resumed.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_a_checkpoint_whose_steps_would_not_be_counted_is_refused() -> None:
    _, module = prepare(small())
    module.on_load_checkpoint({"lr_schedulers": [{"last_epoch": 4}]})
    with pytest.raises(InputError, match="the checkpoint is of an earlier version"):
        module.on_load_checkpoint({"lr_schedulers": []})


def test_the_written_model_is_the_trained_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICLGD_RUNS", str(tmp_path))
    config = small()
    directory = run(config, "small").directory
    assert directory is not None
    assert not list(directory.path.glob(".model*"))
    texts = re.split(r"--- sample \d\n", (directory.path / "samples.txt").read_text())
    assert len(texts) == 1 + 4
    assert {word for text in texts for word in text.split()} <= set(VOCABULARY)
    trained, _ = train(config)
    model = AutoModelForCausalLM.from_pretrained(directory.path / "model")
    tokenizer = AutoTokenizer.from_pretrained(directory.path / "model")
    tokens = tokenizer("wolf : nature ; oven :", return_tensors="pt").input_ids
    assert [VOCABULARY[token] for token in tokens[0]] == ["<s>", "wolf", ":", "nature", ";", "oven", ":"]
    torch.testing.assert_close(model(tokens).logits, trained.model(tokens).logits)
    summary = json.loads((directory.path / "summary.json").read_text())
    assert summary["val/loss"] == pytest.approx(directory.read_metrics()[-1]["val/loss"])


def test_weights_depend_on_the_seed_alone() -> None:
    config = GPTConfig(num_layers=1, num_heads=2, hidden_size=8, context_length=8)
    first, second, other = (build_gpt(config, 9, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    build_gpt(config, 9, torch.Generator())
    assert torch.equal(torch.rand(3), expected), "the global generator is left alone"
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name])
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.context_length=20", "model.context_length must be at least the 26 tokens of a sequence, got 20"),
        ("model.hidden_size=15", "model.hidden_size must be a multiple of 2, got 15"),
        ("training.beta2=1.0", "training.beta2 must be below 1, got 1.0"),
        ("training.schedule=linear", "training.schedule must be one of: constant, cosine, triangle; got 'linear'"),
        ("evaluation.num_sequences=0", "evaluation.num_sequences must be at least 1, got 0"),
        ("task.name=prose", "task.name must be one of: few_shot, corpus; got 'prose'"),
        ("training.final_share=1.5", "training.final_share must be at most 1, got 1.5"),
        (
            "evaluation.lengths=[8]",
            "evaluation.lengths needs task.name=corpus: other sequences have a length of their own",
        ),
        (
            "training.accumulation=3",
            "training.batch_size must be a multiple of trainer.devices x trainer.num_nodes x training.accumulation "
            "(3), got 4",
        ),
        ("seed=-1", "seed must be at least 0, got -1"),
    ],
)
def test_bad_configs_are_refused(override: str, message: str) -> None:
    with pytest.raises(configs.ConfigError) as error:
        small(override)
    assert str(error.value) == message


def test_compiling_without_a_compiler_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-compiler")
    with pytest.raises(InputError, match=r"trainer\.compile=true needs a C\+\+ compiler, and no-compiler is not there"):
        prepare(small("trainer.compile=true"))
    prepare(small())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # PyTorch's own compiler uses it
@pytest.mark.parametrize("attention", ["softmax", "momentum"])
def test_a_compiled_model_takes_the_same_steps(attention: str) -> None:
    (first, numbers), (second, others) = (
        train(small(f"model.attention={attention}", "training.growth_steps=0", f"trainer.compile={compiled}"))
        for compiled in ("false", "true")
    )
    assert others == pytest.approx(numbers, abs=1e-5)
    assert_close_weights(first.model.state_dict(), second.model.state_dict(), tolerance=1e-5)


def test_evaluation_is_shared_out_to_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    data, _ = prepare(small())
    assert isinstance(data, LanguageDataModule)
    parts = []
    for rank in range(2):
        monkeypatch.setattr(data, "_placement", lambda rank=rank: ((rank, 2), torch.device("cpu")))
        parts += [batch.tokens for batch in data.val_dataloader()]
    assert torch.equal(torch.cat(parts), data.evaluation_batch().tokens)


def test_numbers_of_demonstrations_are_powers_of_two() -> None:
    assert shown_numbers(1) == [0]
    assert shown_numbers(2) == [0, 1]
    assert shown_numbers(33) == [0, 1, 2, 4, 8, 16, 32]

"""Runs on a corpus of text, from its files to a model that other parts read."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import iclgd
from iclgd import config as configs
from iclgd.data.corpus_tokenizer import checksum_of
from iclgd.data.few_shot_language import TokenBatch
from iclgd.data.token_file import TokenFile, write_tokens
from iclgd.experiment import resume, run
from iclgd.experiments.language_modeling import CORPORA, Config
from iclgd.models.momentum import momentum_config
from iclgd.modules.language_modeling import LanguageModelingModule
from iclgd.tracking.run_directory import RunDirectory
from tests.conftest import ROOT
from tests.corpora import text, write_corpus
from tests.test_experiment import Cli

WIKITEXT = ROOT / "configs" / "language_modeling" / "wikitext2_tiny.yaml"
LENGTH, LENGTHS = 16, (16, 5, 40)
SMALL = [
    f"task={{num_tokens: {LENGTH}, vocabulary_size: 290, hub_config: null}}",
    "model={num_layers: 2, num_heads: 2, hidden_size: 16, context_length: 256}",
    "training={batch_size: 4, warmup_steps: 2, accumulation: 2, label_weight: 4.0}",
    f"evaluation={{every_num_steps: 3, num_sequences: 2, num_samples: 2, lengths: {list(LENGTHS[1:])}}}",
    "trainer={max_steps: 7, accelerator: cpu, precision: 32-true}",
    "tracking.mode=disabled",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), text(3000), text(300, seed=1))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return where the runs of this module go, and what they share."""
    path = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICLGD_RUNS", str(path))
        yield path


def config_of(folder: Path, *overrides: str) -> Config:
    config = configs.load(WIKITEXT, [*SMALL, f"task.data_dir={folder}", *overrides])
    assert isinstance(config, Config)
    return config


def directory_of(config: Config) -> RunDirectory:
    directory = run(config, "corpus").directory
    assert directory is not None
    return directory


@pytest.fixture(scope="module")
def plain(runs: Path, folder: Path) -> RunDirectory:
    return directory_of(config_of(folder))


@pytest.fixture(scope="module")
def with_momentum(runs: Path, folder: Path) -> RunDirectory:
    return directory_of(config_of(folder, "model.attention=momentum", "model.learn_momentum=true"))


def validation_tokens(runs: Path, directory: RunDirectory) -> torch.Tensor:
    tokenizer = AutoTokenizer.from_pretrained(directory.path / "model")
    (path,) = (runs / CORPORA).glob("*/validation.safetensors")
    file = TokenFile(path, checksum_of(tokenizer), 290)
    return torch.from_numpy(file.windows([0], file.num_tokens)[0])


def test_perplexity_by_length_is_that_of_a_plain_loop(runs: Path, plain: RunDirectory) -> None:
    model = AutoModelForCausalLM.from_pretrained(plain.path / "model").double()
    tokens = validation_tokens(runs, plain)
    summary = plain.read_summary()
    assert summary is not None
    for length in LENGTHS:
        starts = range(0, len(tokens) - length, length)
        windows = [tokens[start : start + length + 1][None] for start in starts]
        with torch.no_grad():
            losses = [model(window, labels=window).loss.item() for window in windows]  # the library's own loss
        mean = sum(losses) / len(losses)
        assert summary[f"val/perplexity/{length}_tokens"] == pytest.approx(math.exp(mean), rel=1e-5)
        if length == LENGTH:
            assert summary["val/loss"] == pytest.approx(mean, rel=1e-5)
            assert summary["val/perplexity"] == pytest.approx(math.exp(mean), rel=1e-5)
    assert len({summary[f"val/perplexity/{length}_tokens"] for length in LENGTHS}) == 3


def test_what_a_run_leaves(plain: RunDirectory) -> None:
    assert [record["step"] for record in plain.read_metrics()] == [0, 3, 6, 7]
    assert (plain.path / "samples.txt").read_text().count("--- sample") == 2
    assert (plain.path / "figures" / "perplexity_by_length.png").is_file()
    summary = plain.read_summary()
    assert summary is not None
    assert not [name for name in summary if name.startswith("accuracy/") or "label" in name]


def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    runs: Path, folder: Path, plain: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICLGD_RUNS", str(runs))
    take_step, stopped = LanguageModelingModule.training_step, []

    def stop(module: LanguageModelingModule, batch: TokenBatch, batch_idx: int) -> torch.Tensor:
        if module.global_step == 5 and not stopped:
            stopped.append(True)
            raise KeyboardInterrupt
        return take_step(module, batch, batch_idx)

    monkeypatch.setattr(LanguageModelingModule, "training_step", stop)
    with pytest.raises(KeyboardInterrupt):
        run(config_of(folder), "stopped")
    (path,) = (runs / "stopped").iterdir()
    resumed = resume(path).directory
    assert resumed is not None
    assert resumed.read_metrics() == plain.read_metrics()
    for name in ("model/model.safetensors", "samples.txt"):
        assert (resumed.path / name).read_bytes() == (plain.path / name).read_bytes()


def test_the_model_of_a_run_is_one_for_load_run_and_the_text_pipeline(
    cli: Cli, with_momentum: RunDirectory, plain: RunDirectory
) -> None:
    model = iclgd.load_run(with_momentum.path).models["model"]
    assert momentum_config(model.config).is_learned
    assert momentum_config(iclgd.load_run(plain.path).models["model"].config) is None
    assert with_momentum.read_metrics()[-1]["val/loss"] != plain.read_metrics()[-1]["val/loss"]
    for name in ("model.attention=momentum", "model.attention=softmax"):
        code, out, err = cli(
            "run",
            "embedded",
            f"model.name={with_momentum.path}/model",
            name,
            "demonstrations.num=2",
            "evaluation={controls: [], other_task: null, num_replicates: 100}",
            "task.num_queries=16",
            "tracking.mode=disabled",
        )
        assert code == 0, err
        assert (Path(out.splitlines()[-1]) / "summary.json").is_file()


def refused(cli: Cli, folder: Path | str, *overrides: str) -> str:
    """Return the one line with which a run is refused, of which nothing is left."""
    code, out, err = cli("run", WIKITEXT, *SMALL, f"task.data_dir={folder}", *overrides)
    lines = [line for line in err.splitlines() if not line.startswith("tokenizing ")]
    assert (code, out, len(lines)) == (2, "", 1), err
    return lines[0]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.num_tokens=257", "model.context_length must be at least the 257 tokens of a sequence, got 256"),
        (
            "evaluation.lengths=[8, 300]",
            "evaluation.lengths must be at most model.context_length (256) each, got 300",
        ),
        ("evaluation.lengths=[0]", "evaluation.lengths must be at least 1 each, got 0"),
        ("task.vocabulary_size=257", "task.vocabulary_size must be at least 258, got 257"),
        ("task.num_tokens=0", "task.num_tokens must be at least 1, got 0"),
        ("task.tokenizer=", "task.tokenizer must not be empty"),
    ],
)
def test_bad_keys_are_refused(cli: Cli, folder: Path, override: str, message: str) -> None:
    assert message in refused(cli, folder, override)


def test_bad_texts_and_damaged_token_files_are_refused(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICLGD_RUNS", str(tmp_path / "runs"))
    texts = tmp_path / "texts"
    assert f"task.data_dir: {texts} is no folder" in refused(cli, texts)
    texts.mkdir()
    assert f"task.data_dir: {texts} has no train.txt or train.jsonl" in refused(cli, texts)
    for content, problem in ((b"", "is empty"), (b"abc\xff", "not UTF-8 at byte 4")):
        assert f"{texts}/validation.txt: {problem}" in refused(cli, write_corpus(texts, "rain", content))
    assert not (tmp_path / "runs").exists()
    write_corpus(texts, text(300), "abc")
    assert "needs one more than that" in refused(cli, texts)
    write_corpus(texts, text(300), text(60))
    assert "an evaluation with sequences of 250 tokens in 1 processes needs more" in refused(
        cli, texts, "evaluation.lengths=[250]"
    )
    for path in (tmp_path / "runs" / CORPORA).glob("*/train.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    assert "is damaged (" in refused(cli, texts)
    for path in (tmp_path / "runs" / CORPORA).glob("*/train.safetensors"):
        write_tokens(path, [(1, 2)], "another", 290)
    assert "was made by another tokenizer" in refused(cli, texts)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [CORPORA]


def test_a_vocabulary_that_is_not_the_tokenizers_is_refused(cli: Cli, folder: Path, plain: RunDirectory) -> None:
    tokenizer = plain.path / "model"
    assert f"task.vocabulary_size must be at least the 290 tokens of task.tokenizer={tokenizer}, got 280" in refused(
        cli, folder, f"task.tokenizer={tokenizer}", "task.vocabulary_size=280"
    )
    assert "task.tokenizer: nobody/tokenizer is no folder" in refused(cli, folder, "task.tokenizer=nobody/tokenizer")

"""Windows of a corpus: which tokens a model sees, at which step, on which process."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from iclgd.data import corpus_datamodule
from iclgd.data.corpus import Corpus
from iclgd.data.corpus_datamodule import CorpusDataModule, ShuffledWindows
from iclgd.data.corpus_text import CorpusError
from iclgd.data.corpus_tokenizer import train_tokenizer
from iclgd.data.token_file import TokenFile, write_tokens

LENGTH, BATCH = 8, 4
NUM_TRAIN, NUM_VALIDATION = 203, 90


def token_file(path: Path, num_tokens: int) -> TokenFile:
    """Return a file whose tokens are their own places."""
    write_tokens(path, [range(num_tokens)], "", num_tokens)
    return TokenFile(path, "", num_tokens)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(["rain"], 258)


@pytest.fixture
def corpus(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> Corpus:
    train, validation = token_file(tmp_path / "train", NUM_TRAIN), token_file(tmp_path / "validation", NUM_VALIDATION)
    return Corpus(tokenizer, 300, train, validation)


def data_on(
    corpus: Corpus, rank: int = 0, num_ranks: int = 1, step: int = 0, max_steps: int = 20, accumulation: int = 1
) -> CorpusDataModule:
    data = CorpusDataModule(corpus, LENGTH, [4, 16], 7, BATCH, 6, 5, num_ranks, accumulation)
    device = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        global_rank=rank, world_size=num_ranks, global_step=step, max_steps=max_steps, strategy=device
    )
    return data


def steps(data: CorpusDataModule) -> list[Tensor]:
    return [batch.tokens for batch in data.train_dataloader()]


def test_every_window_comes_once_in_an_epoch(corpus: Corpus) -> None:
    windows = ShuffledWindows(corpus.train, LENGTH, seed=3)
    assert windows.num_windows == NUM_TRAIN // LENGTH - 1
    orders = []
    for epoch in range(3):
        places = range(epoch * windows.num_windows, (epoch + 1) * windows.num_windows)
        rows = torch.cat([windows.batch(place, 1, slice(None)).tokens for place in places])
        assert torch.equal(rows, rows[:, :1] + torch.arange(LENGTH + 1)), "each is a part of the text"
        starts = rows[:, 0].sort().values
        assert torch.equal(starts.diff(), torch.full((len(starts) - 1,), LENGTH)), "side by side"
        assert starts[0] < LENGTH
        orders.append(rows[:, 0].tolist())
    assert len({tuple(order) for order in orders}) == 3
    assert all(order != sorted(order) for order in orders)
    assert len({min(order) for order in orders}) > 1, "their borders differ"


def test_all_of_the_text_but_less_than_a_window_at_its_end_is_trained_on_over_time(corpus: Corpus) -> None:
    windows = ShuffledWindows(corpus.train, LENGTH, seed=0)
    predicted = {
        token for step in range(400) for row in windows.batch(step, 4, slice(None)).tokens for token in row[1:].tolist()
    }
    assert predicted == set(range(1, NUM_TRAIN // LENGTH * LENGTH))


@pytest.mark.parametrize("num_tokens", [LENGTH + 1, LENGTH + 2, 2 * LENGTH, 2 * LENGTH + 1])
def test_a_text_of_about_one_window_is_enough(tmp_path: Path, num_tokens: int) -> None:
    windows = ShuffledWindows(token_file(tmp_path / "train", num_tokens), LENGTH, seed=0)
    rows = windows.batch(0, 50, slice(None)).tokens
    assert torch.equal(rows, rows[:, :1] + torch.arange(LENGTH + 1))
    assert rows.max() in (num_tokens - 2, num_tokens - 1)


def test_windows_depend_on_the_seed_and_the_step_alone(corpus: Corpus) -> None:
    first, second, other = (ShuffledWindows(corpus.train, LENGTH, seed) for seed in (1, 1, 2))
    forward = [first.batch(step, BATCH, slice(None)).tokens for step in range(15)]
    for step in reversed(range(15)):
        assert torch.equal(second.batch(step, BATCH, slice(None)).tokens, forward[step])
    assert not torch.equal(other.batch(0, BATCH, slice(None)).tokens, forward[0])


def test_processes_share_each_batch(corpus: Corpus) -> None:
    alone = steps(data_on(corpus))
    assert [len(tokens) for tokens in alone] == [BATCH] * 6
    for num_ranks in (2, 4):
        shared = zip(*(steps(data_on(corpus, rank, num_ranks)) for rank in range(num_ranks)), strict=True)
        for whole, parts in zip(alone, shared, strict=True):
            assert torch.equal(whole, torch.cat(parts))


def test_accumulation_cuts_a_batch_into_parts(corpus: Corpus) -> None:
    parts = steps(data_on(corpus, accumulation=2))
    assert [len(tokens) for tokens in parts] == [BATCH // 2] * 12
    assert torch.equal(torch.cat(parts), torch.cat(steps(data_on(corpus))))


def test_training_goes_on_at_any_step_with_the_batches_of_one_that_was_not_interrupted(corpus: Corpus) -> None:
    whole = [tokens for step in (0, 6, 12, 18) for tokens in steps(data_on(corpus, step=step))]
    assert len(whole) == 20, "the last epoch ends with the training"
    assert torch.equal(torch.stack(steps(data_on(corpus, step=9))), torch.stack(whole[9:15]))


def test_evaluation_covers_the_text_at_every_length_on_any_number_of_processes(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus_datamodule, "NUM_LOGITS_AT_ONCE", 3 * LENGTH * 300)  # three windows of 8 at once
    for num_ranks in (1, 2, 3):
        ranks = [data_on(corpus, rank, num_ranks) for rank in range(num_ranks)]
        for index, length in enumerate((LENGTH, 4, 16)):
            loaders = [data.test_dataloader()[index] for data in ranks]
            batches = [[batch.tokens for batch in loader] for loader in loaders]
            assert [len(loader) for loader in loaders] == [len(each) for each in batches]
            rows = torch.cat([tokens for each in batches for tokens in each])
            assert rows.shape[1] == length + 1
            assert rows[:, 1:].flatten().tolist() == list(range(1, (NUM_VALIDATION - 1) // length * length + 1))
            assert max(len(tokens) for each in batches for tokens in each) <= max(2, 3 * LENGTH // length)


def test_between_training_steps_each_length_is_evaluated_on_the_same_beginning(corpus: Corpus) -> None:
    for length, loader in zip((LENGTH, 4, 16), data_on(corpus).val_dataloader(), strict=True):
        rows = torch.cat([batch.tokens for batch in loader])
        assert rows[:, 1:].flatten().tolist() == list(range(1, 5 * LENGTH // length * length + 1))


def test_each_process_has_a_sequence_of_each_length(corpus: Corpus) -> None:
    for rank in range(2):
        data = CorpusDataModule(corpus, LENGTH, [40], 0, BATCH, 6, num_evaluation_sequences=2, num_processes=2)
        data.trainer = data_on(corpus, rank, 2).trainer
        assert [batch.tokens[:, 0].tolist() for batch in data.val_dataloader()[1]] == [[40 * rank]]


def test_the_trainings_own_length_is_the_first_and_none_comes_twice(corpus: Corpus) -> None:
    data = CorpusDataModule(corpus, LENGTH, [4, LENGTH, 4], 0, BATCH, 6, 5)
    assert data.lengths == (LENGTH, 4)
    assert data.vocabulary_size == 300


def test_a_validation_text_that_is_too_short_for_all_processes_is_refused(corpus: Corpus) -> None:
    with pytest.raises(CorpusError) as error:
        CorpusDataModule(corpus, LENGTH, [45], 0, BATCH, 6, 5, num_processes=2)
    assert str(error.value) == (
        f"{corpus.validation.path}: has 90 tokens; an evaluation with sequences of 45 tokens in 2 processes needs more"
    )
    assert CorpusDataModule(corpus, LENGTH, [44], 0, BATCH, 6, 5, num_processes=2)


def test_the_tokenizer_knows_the_models_context(corpus: Corpus) -> None:
    assert data_on(corpus).make_tokenizer(32).model_max_length == 32
    assert corpus.tokenizer.model_max_length != 32

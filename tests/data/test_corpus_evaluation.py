"""The evaluation text is divided among processes so that none computes while another has nothing to do."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from iclgd.data import corpus_datamodule
from iclgd.data.corpus import Corpus
from iclgd.data.corpus_datamodule import CorpusDataModule, EvaluationBatches
from iclgd.data.few_shot_language import make_tokenizer
from iclgd.data.token_file import TokenFile, write_tokens

VOCABULARY_SIZE = 5000


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> TokenFile:
    path = tmp_path_factory.mktemp("text") / "tokens.safetensors"
    write_tokens(path, [range(4000)], "", VOCABULARY_SIZE)
    return TokenFile(path, "", VOCABULARY_SIZE)


def parts(text: TokenFile, length: int, num_evaluated: int, num_ranks: int) -> list[EvaluationBatches]:
    corpus = Corpus(make_tokenizer(16), VOCABULARY_SIZE, text, text)
    data = CorpusDataModule(corpus, 1, [length], 0, num_ranks, 1, num_evaluated, num_processes=num_ranks)
    of_ranks = []
    for rank in range(num_ranks):
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        data.trainer = SimpleNamespace(global_rank=rank, world_size=num_ranks, strategy=strategy)  # type: ignore[assignment]
        of_ranks.append(data.val_dataloader()[-1])
    return of_ranks


@pytest.mark.parametrize("windows_at_once", [1, 2, 3, 7, 1000])
def test_all_processes_have_as_many_batches_and_every_window_comes_once(
    text: TokenFile, monkeypatch: pytest.MonkeyPatch, windows_at_once: int
) -> None:
    length = 4
    monkeypatch.setattr(corpus_datamodule, "NUM_LOGITS_AT_ONCE", windows_at_once * length * VOCABULARY_SIZE)
    for num_ranks in (1, 2, 3, 5):
        for num_windows in range(num_ranks, 25):
            of_ranks = parts(text, length, num_windows * length, num_ranks)
            batches = [[batch.tokens.numpy() for batch in part] for part in of_ranks]
            assert len({len(each) for each in batches}) == 1, "a process would wait for ever"
            assert [len(each) for each in batches] == [len(part) for part in of_ranks]
            sizes = [len(batch) for each in batches for batch in each]
            assert 1 <= min(sizes) <= max(sizes) <= max(2, windows_at_once)
            starts = np.concatenate([batch[:, 0] for each in batches for batch in each])
            assert np.array_equal(starts, length * np.arange(num_windows))


def test_each_process_has_a_window_however_long_it_is(text: TokenFile) -> None:
    batches = [list(part) for part in parts(text, length=100, num_evaluated=8, num_ranks=3)]
    assert [[batch.tokens[:, 0].tolist() for batch in each] for each in batches] == [[[0]], [[100]], [[200]]]

"""Windows of a corpus: shuffled anew in each epoch to train on, in their order to evaluate on."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase as Tokenizer

from iclgd.data.corpus import Corpus
from iclgd.data.corpus_text import CorpusError
from iclgd.data.few_shot_language import TokenBatch
from iclgd.data.seeding import named_generator
from iclgd.data.token_file import TokenFile
from iclgd.data.training_steps import TrainingSteps

NUM_LOGITS_AT_ONCE = 2**26  # when evaluating: 256 MiB in single precision; more if two sequences have more


class ShuffledWindows:
    """The windows of a training text, each once in an epoch, in an order that depends on the seed and the epoch alone.

    An epoch's windows lie side by side from a random place on, so that their borders differ from those of others.
    Of the text's end, less than a window may be in none.

    Args:
        tokens: the text, longer than a window.
        length: tokens to predict in a window, which has one more.
        seed: of the run.
    """

    def __init__(self, tokens: TokenFile, length: int, seed: int) -> None:
        self.tokens, self.length, self.seed = tokens, length, seed
        self.num_windows = max(1, tokens.num_tokens // length - 1)
        self._epoch, self._starts = -1, np.empty(0, np.int64)

    def batch(self, step: int, batch_size: int, part: slice) -> TokenBatch:
        """Return sequences of one training step, (B, T + 1) tokens.

        Args:
            step: counted from 0.
            batch_size: sequences of a step.
            part: which of them.
        """
        first = step * batch_size
        places = range(first, first + batch_size)[part]
        starts = [self._starts_of(place // self.num_windows)[place % self.num_windows] for place in places]
        return TokenBatch(torch.from_numpy(self.tokens.windows(starts, self.length + 1)))

    def _starts_of(self, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        if epoch != self._epoch:
            generator = named_generator(self.seed, f"training/epoch {epoch}")
            room = min(self.length, self.tokens.num_tokens - self.num_windows * self.length)
            first = int(torch.randint(room, (), generator=generator))
            order = torch.randperm(self.num_windows, generator=generator)
            self._epoch, self._starts = epoch, (first + self.length * order).numpy()
        return self._starts


class CorpusDataModule(TrainingSteps):
    """Shuffled windows to train on; to evaluate on, windows of several lengths, one dataloader for each.

    Args:
        corpus: the text.
        length: tokens to predict in a training sequence.
        lengths: the same of evaluation sequences; the training's own is evaluated, first, in any case.
        seed: of the run.
        batch_size: see :class:`TrainingSteps`.
        steps_per_epoch: likewise.
        num_evaluation_sequences: how many of the training's length are evaluated on between training steps; of other
            lengths as many as give the same text, and one for each process at the least. The last evaluation, after
            training, is on all of the text.
        num_processes: over all of which sequences are divided.
        accumulation: see :class:`TrainingSteps`.

    Raises:
        CorpusError: if the validation text is shorter than one sequence for each process.
    """

    def __init__(
        self,
        corpus: Corpus,
        length: int,
        lengths: Sequence[int],
        seed: int,
        batch_size: int,
        steps_per_epoch: int,
        num_evaluation_sequences: int,
        num_processes: int = 1,
        accumulation: int = 1,
    ) -> None:
        super().__init__(batch_size, steps_per_epoch, accumulation)
        self.corpus = corpus
        self.windows = ShuffledWindows(corpus.train, length, seed)
        self.lengths = tuple(dict.fromkeys([length, *lengths]))
        self.num_evaluated = num_evaluation_sequences * length
        for each in self.lengths:
            if (there := corpus.validation.num_tokens) <= each * num_processes:
                raise CorpusError(
                    f"{corpus.validation.path}: has {there:,} tokens; an evaluation with sequences of {each:,} tokens "
                    f"in {num_processes} processes needs more"
                )

    @property
    def vocabulary_size(self) -> int:
        """Return how many tokens a model needs to know."""
        return self.corpus.vocabulary_size

    def make_tokenizer(self, context_length: int) -> Tokenizer:
        """Return the corpus' tokenizer for a model with a context of this length."""
        tokenizer = copy.deepcopy(self.corpus.tokenizer)
        tokenizer.model_max_length = context_length
        return tokenizer

    def training_batch(self, step: int) -> TokenBatch:
        """Return this rank's sequences of a step."""
        (rank, num_ranks), device = self._placement()
        part = slice(self.batch_size * rank // num_ranks, self.batch_size * (rank + 1) // num_ranks)
        return self.windows.batch(step, self.batch_size, part).to(device)

    def val_dataloader(self) -> list["EvaluationBatches"]:
        """Return this rank's part of the evaluation sequences of each length."""
        return [self.evaluation(length, self.num_evaluated) for length in self.lengths]

    def test_dataloader(self) -> list["EvaluationBatches"]:
        """Return the same of the whole text."""
        return [self.evaluation(length, self.corpus.validation.num_tokens) for length in self.lengths]

    def evaluation(self, length: int, num_tokens: int) -> "EvaluationBatches":
        """Return this rank's part of the sequences that lie side by side in the first tokens, at least one a rank.

        All ranks have as many batches: those that share out weights compute together, or wait for ever.
        """
        (rank, num_ranks), device = self._placement()
        num_windows = max(num_ranks, min(num_tokens, self.corpus.validation.num_tokens - 1) // length)
        # Two at once at the least: a rank may have one window less than others, and still needs one in each batch.
        at_once = max(2, NUM_LOGITS_AT_ONCE // (length * self.corpus.vocabulary_size))
        num_batches = -(-num_windows // (num_ranks * at_once))
        first, last = (num_windows * index // num_ranks for index in (rank, rank + 1))
        return EvaluationBatches(self.corpus.validation, length, range(first, last), num_batches, device)


class EvaluationBatches:
    """A dataloader over windows that lie side by side; they are read when they are asked for.

    Args:
        tokens: the text.
        length: tokens to predict in a window, which has one more.
        windows: which of them, counted from the beginning of the text.
        num_batches: into which they are divided, evenly.
        device: where they are needed.
    """

    def __init__(self, tokens: TokenFile, length: int, windows: range, num_batches: int, device: torch.device) -> None:
        self.tokens, self.length, self.windows, self.num_batches = tokens, length, windows, num_batches
        self.device = device

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[TokenBatch]:
        for windows in np.array_split(self.windows, self.num_batches):
            tokens = self.tokens.windows(windows * self.length, self.length + 1)
            yield TokenBatch(torch.from_numpy(tokens)).to(self.device)

"""Fresh sequences of a language for each training step, and a fixed set to evaluate on."""

from dataclasses import replace

import torch
from transformers import PreTrainedTokenizerFast

from iclgd.data.datamodules import Batches
from iclgd.data.few_shot_language import VOCABULARY, FewShotLanguageConfig, TokenBatch, make_tokenizer
from iclgd.data.seeding import named_generator
from iclgd.data.training_steps import TrainingSteps

NUM_EVALUATED_AT_ONCE = 64
SHORTEST_SHARE = 5  # the first sequences have a fifth of the demonstrations


def training_batch(
    language: FewShotLanguageConfig,
    seed: int,
    step: int,
    batch_size: int,
    growth_steps: int = 0,
    device: torch.device | str = "cpu",
    shard: tuple[int, int] = (0, 1),
) -> TokenBatch:
    """Return the batch of one training step, which depends on the seed and the step alone.

    Args:
        language: what to draw.
        seed: of the run.
        step: counted from 0.
        batch_size: sequences, over all processes together.
        growth_steps: in which sequences grow to their full number of demonstrations.
        device: where to draw.
        shard: this process's rank and the number of processes; each gets its part of the batch.

    Example:
        >>> language = FewShotLanguageConfig(num_demonstrations=10, num_words=1)
        >>> [training_batch(language, 0, step, 4, growth_steps=8).tokens.shape[1] for step in (0, 4, 8)]
        [9, 25, 41]
    """
    shortest = max(1, language.num_demonstrations // SHORTEST_SHARE)
    progress = min(1.0, step / growth_steps) if growth_steps else 1.0
    number = shortest + int(progress * (language.num_demonstrations - shortest))
    drawn = replace(language, num_demonstrations=number)
    # Every rank draws the whole batch and keeps its part: the result does not depend on their number.
    batch = drawn.sample(batch_size, named_generator(seed, f"training/{step}", device))
    rank, num_ranks = shard
    return batch.part(slice(batch_size * rank // num_ranks, batch_size * (rank + 1) // num_ranks))


class LanguageDataModule(TrainingSteps):
    """Fresh training batches, drawn where they are used, and one fixed set of evaluation sequences.

    Args:
        language: what to draw.
        seed: of the run.
        batch_size: see :class:`TrainingSteps`.
        steps_per_epoch: likewise.
        num_evaluation_sequences: size of the evaluation set.
        growth_steps: in which training sequences grow to their full length.
        accumulation: see :class:`TrainingSteps`.
    """

    def __init__(
        self,
        language: FewShotLanguageConfig,
        seed: int,
        batch_size: int,
        steps_per_epoch: int,
        num_evaluation_sequences: int,
        growth_steps: int = 0,
        accumulation: int = 1,
    ) -> None:
        super().__init__(batch_size, steps_per_epoch, accumulation)
        self.language = language
        self.seed = seed
        self.num_evaluation_sequences = num_evaluation_sequences
        self.growth_steps = growth_steps

    @property
    def vocabulary_size(self) -> int:
        """Return how many tokens a model needs to know."""
        return len(VOCABULARY)

    def make_tokenizer(self, context_length: int) -> PreTrainedTokenizerFast:
        """Return the language's tokenizer for a model with a context of this length."""
        return make_tokenizer(context_length)

    def evaluation_batch(self) -> TokenBatch:
        """Draw the evaluation set (the same one each time), on the CPU."""
        return self.language.sample(self.num_evaluation_sequences, named_generator(self.seed, "evaluation"))

    def training_batch(self, step: int) -> TokenBatch:
        """Draw this rank's sequences of a step."""
        shard, device = self._placement()
        return training_batch(self.language, self.seed, step, self.batch_size, self.growth_steps, device, shard)

    def val_dataloader(self) -> Batches[TokenBatch]:
        """Return this rank's part of the evaluation sequences."""
        (rank, num_ranks), device = self._placement()
        start, end = (self.num_evaluation_sequences * index // num_ranks for index in (rank, rank + 1))
        return Batches(list(self.evaluation_batch().part(slice(start, end)).to(device).split(NUM_EVALUATED_AT_ONCE)))

    def test_dataloader(self) -> Batches[TokenBatch]:
        """Return the same as :meth:`val_dataloader`."""
        return self.val_dataloader()

"""A generated language of labelled demonstrations, on which a small model learns to learn in its context.

A sequence is ``<s> wolf old heron toad otter : nature ; ...``: words of a topic, a marker, the topic's label, a
separator. Each topic has a label of its own, the prior. A sequence keeps it for some of its topics and gives the others
any label: what a model knows helps it without demonstrations, and with them it can do better. Words from
elsewhere and wrong labels make it gather evidence over many demonstrations.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Replace
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from iclgd import checks

START, END, PADDING, UNKNOWN, MARKER, SEPARATOR = SPECIAL_WORDS = ("<s>", "</s>", "<pad>", "<unk>", ":", ";")
TOPICS = {  # the label of each topic, and the topic's words
    "nature": "wolf fox bear deer owl hare otter badger lynx crow heron toad finch mole beaver newt",
    "home": "pan oven spoon kettle bowl ladle plate cup sieve fork whisk jar sofa lamp rug shelf",
    "travel": "ship harbour anchor sail deck rudder mast ferry cabin dock oar train rail tunnel wagon depot",
    "art": "violin drum flute chord piano choir cello harp canvas easel sketch palette fresco statue mural gallery",
    "work": "hammer nail saw drill wrench chisel plank ladder screw rasp bolt desk ledger invoice memo stapler",
    "play": "goal referee racket sprint medal stadium relay hurdle league trophy chess dice pawn puzzle domino kite",
    "food": "apple plum pear cherry grape melon lemon fig peach bread dough cake biscuit yeast bun waffle",
    "science": "planet comet orbit star moon galaxy nebula crater acid flask atom crystal enzyme polymer beaker "
    "isotope",
}
_WITHOUT_TOPIC = (
    "old new small large red blue quiet bright heavy light early late round plain fine rough cold warm near far"
)
COMMON_WORDS = tuple(_WITHOUT_TOPIC.split())
LABELS = tuple(TOPICS)
VOCABULARY = (*SPECIAL_WORDS, *LABELS, *(word for words in TOPICS.values() for word in words.split()), *COMMON_WORDS)

_FIRST_LABEL = len(SPECIAL_WORDS)
_FIRST_TOPIC_WORD = _FIRST_LABEL + len(LABELS)
_WORDS_PER_TOPIC = 16
_FIRST_COMMON_WORD = _FIRST_TOPIC_WORD + len(LABELS) * _WORDS_PER_TOPIC


class TokenBatch(NamedTuple):
    """Sequences of a language."""

    tokens: Tensor  # (B, T)
    is_label: Tensor | None = None  # (B, T), whether a token is a demonstration's label; None: of a text without labels

    def part(self, sequences: slice) -> "TokenBatch":
        """Return some of the sequences."""
        return TokenBatch(self.tokens[sequences], None if self.is_label is None else self.is_label[sequences])

    def split(self, size: int) -> Iterator["TokenBatch"]:
        """Yield the sequences, at most so many at once."""
        return (self.part(slice(start, start + size)) for start in range(0, len(self.tokens), size))

    def to(self, device: torch.device | str) -> "TokenBatch":
        """Return the batch on a device."""
        return TokenBatch(self.tokens.to(device), None if self.is_label is None else self.is_label.to(device))


@dataclass(frozen=True)
class FewShotLanguageConfig:
    """Demonstrations of invented classification tasks, a new task in each sequence.

    Raises:
        ValueError: if a value is out of its range.
    """

    name: str = "few_shot"
    """Which language."""
    num_demonstrations: int = 40
    """Demonstrations of a sequence."""
    num_words: int = 4
    """Words of a demonstration."""
    min_topics: int = 2
    """Fewest topics of a sequence, which has a random number of them."""
    max_topics: int = 5
    """Most topics of a sequence."""
    prior_share: float = 0.4
    """Share of a sequence's topics that keep their own label; the others get any other."""
    label_noise: float = 0.1
    """Share of demonstrations with a wrong label."""
    topic_share: float = 0.65
    """Share of a demonstration's words that come from its topic."""
    common_share: float = 0.2
    """Share of words without a topic; the rest is from any topic, whatever the label."""

    def __post_init__(self) -> None:
        checks.at_least(1, "task", self, "num_demonstrations", "num_words")
        checks.at_least(2, "task", self, "min_topics")
        checks.at_least(self.min_topics, "task", self, "max_topics")
        checks.at_least(0, "task", self, "prior_share", "label_noise", "topic_share", "common_share")
        if self.max_topics > len(LABELS):
            raise ValueError(f"task.max_topics must be at most {len(LABELS)}, got {self.max_topics}")
        for key in ("prior_share", "label_noise"):
            if getattr(self, key) > 1:
                raise ValueError(f"task.{key} must be at most 1, got {getattr(self, key)}")
        if self.topic_share + self.common_share > 1:
            total = self.topic_share + self.common_share
            raise ValueError(f"task.topic_share + task.common_share must be at most 1, got {total}")

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Return all words; a word's token is its place here."""
        return VOCABULARY

    @property
    def num_tokens(self) -> int:
        """Return T, the length of a sequence."""
        return 1 + self.num_demonstrations * (self.num_words + 3)

    def sample(self, num_sequences: int, generator: torch.Generator) -> TokenBatch:
        """Draw sequences on the generator's device.

        Example:
            >>> config = FewShotLanguageConfig(num_demonstrations=2, num_words=3)
            >>> batch = config.sample(1, torch.Generator().manual_seed(1))
            >>> " ".join(VOCABULARY[token] for token in batch.tokens[0])
            '<s> red red mole : travel ; otter crow new : art ;'
        """
        device, shape = generator.device, (num_sequences, self.num_demonstrations)
        num_topics = torch.randint(
            self.min_topics, self.max_topics + 1, (num_sequences, 1), generator=generator, device=device
        )
        order = torch.rand(num_sequences, len(LABELS), generator=generator, device=device).argsort(1)
        topics = order.gather(1, (torch.rand(shape, generator=generator, device=device) * num_topics).long())
        own = torch.arange(len(LABELS), device=device).expand_as(order)
        label_of = _other_than(own, 1 - self.prior_share, generator)  # (B, L), by topic
        labels = _other_than(label_of.gather(1, topics), self.label_noise, generator)
        return self.assemble(self.sample_words(topics, generator), labels)

    def sample_words(self, topics: Tensor, generator: torch.Generator) -> Tensor:
        """Draw the words of demonstrations.

        Args:
            topics: (...), as indices of ``LABELS``.
            generator: draws on its own device.

        Returns:
            tokens (..., W).
        """
        shape, device = (*topics.shape, self.num_words), generator.device
        kind = torch.rand(shape, generator=generator, device=device)
        any_topic = torch.randint(len(LABELS), shape, generator=generator, device=device)
        topic = torch.where(kind < self.topic_share, topics[..., None], any_topic)
        place = torch.randint(_WORDS_PER_TOPIC, shape, generator=generator, device=device)
        common = torch.randint(len(COMMON_WORDS), shape, generator=generator, device=device)
        is_common = kind >= 1 - self.common_share
        return torch.where(is_common, _FIRST_COMMON_WORD + common, _FIRST_TOPIC_WORD + topic * _WORDS_PER_TOPIC + place)

    def assemble(self, words: Tensor, labels: Tensor) -> TokenBatch:
        """Return sequences of demonstrations with these words, (B, N, W), and labels, (B, N) indices of ``LABELS``."""
        batch = len(labels)
        marker, separator = (torch.full_like(labels, SPECIAL_WORDS.index(word)) for word in (MARKER, SEPARATOR))
        end = torch.stack([marker, labels + _FIRST_LABEL, separator], -1)
        tokens = torch.cat([words, end], -1)  # (B, N, W + 3)
        is_label = torch.zeros_like(tokens, dtype=torch.bool)
        is_label[..., -2] = True
        start = tokens.new_full((batch, 1), SPECIAL_WORDS.index(START))
        return TokenBatch(
            torch.cat([start, tokens.flatten(1)], 1),
            torch.cat([torch.zeros_like(start).bool(), is_label.flatten(1)], 1),
        )


def make_tokenizer(context_length: int) -> PreTrainedTokenizerFast:
    """Return the language's tokenizer: a text begins with ``<s>``, and the end of a line is a separator.

    Example:
        >>> tokenizer = make_tokenizer(512)
        >>> tokenizer.convert_ids_to_tokens(tokenizer("wolf : nature\\n").input_ids)
        ['<s>', 'wolf', ':', 'nature', ';']
    """
    tokenizer = Tokenizer(WordLevel({word: token for token, word in enumerate(VOCABULARY)}, unk_token=UNKNOWN))
    tokenizer.normalizer = Replace("\n", f" {SEPARATOR} ")
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, VOCABULARY.index(START))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=START,
        eos_token=END,
        pad_token=PADDING,
        unk_token=UNKNOWN,
        model_max_length=context_length,
    )


def _other_than(labels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Replace a random share of labels by others; any other is as likely."""
    is_replaced = torch.rand(labels.shape, generator=generator, device=generator.device) < share
    offset = torch.randint(1, len(LABELS), labels.shape, generator=generator, device=generator.device)
    return torch.where(is_replaced, (labels + offset) % len(LABELS), labels)

"""Byte pair encodings of a corpus: Sennrich et al. 2016 (arXiv 1508.07909), over bytes as in GPT-2."""

import hashlib
from collections.abc import Iterable

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers import PreTrainedTokenizerFast

END, PADDING = SPECIAL_TOKENS = ("<|endoftext|>", "<|padding|>")
LEAST_VOCABULARY_SIZE = len(SPECIAL_TOKENS) + 256  # any text is bytes


def train_tokenizer(texts: Iterable[str], vocabulary_size: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer with the pairs that are most frequent in some texts.

    As in GPT-2 one token ends a document and begins the next, and nothing is put before a text.

    Args:
        texts: read once, one after the other.
        vocabulary_size: of the tokenizer; fewer if the texts have no more pairs.

    Example:
        >>> tokenizer = train_tokenizer(["low lower lowest"], 261)
        >>> tokenizer.tokenize("lowest low")
        ['low', 'e', 's', 't', 'Ġlow']
    """
    backend = Backend(BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=END,
        eos_token=END,
        pad_token=PADDING,
        clean_up_tokenization_spaces=False,
    )


def checksum_of(tokenizer: Tokenizer) -> str:
    """Return what tells a tokenizer from others."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()

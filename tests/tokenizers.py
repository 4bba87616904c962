"""Small tokenizers of all kinds, trained on a few sentences."""

from collections.abc import Callable

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    *(
        "Positive or Negative? a gem of a film .",
        "Review: a dull film. Sentiment: Negative",
        "好电影 非常好 Sentiment: 积极",
    ),
    *("Positive", "very good film", "not so good", 'He said "it\'s 10"', "\n\n", "- # ! < / s > | t x q u o e unk"),
] * 20
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"  # as Llama 3


def wrapped(tokenizer: Tokenizer, before: str = "") -> PreTrainedTokenizerFast:
    """Return it with its names; it puts a token before a text, if one is given."""
    if before:
        token = (before, tokenizer.token_to_id(before))
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{before} $A", special_tokens=[token])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def unigram() -> PreTrainedTokenizerFast:
    """As XGLM's and T5's: pieces with a mark for the space before them, one too at the beginning."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=150, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return wrapped(tokenizer, before="</s>")


def pairs(tokenizer: Tokenizer, size: int) -> Tokenizer:
    special = ["<unk>", "<s>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def legacy_llama() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    pairs(tokenizer, 500)
    tokenizer.pre_tokenizer = None
    return wrapped(tokenizer, before="<s>")


def gpt2() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return wrapped(pairs(tokenizer, 400))


def llama3() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(WORDS), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    return wrapped(pairs(tokenizer, 400), before="<s>")


def word_pieces() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    special = ["<unk>", "<s>", "</s>"]
    tokenizer.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    )
    return wrapped(tokenizer, before="<s>")


def across_words() -> PreTrainedTokenizerFast:
    """Merges across spaces, so that the end of a prompt and its answer may be one token."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "Ġ")
    return wrapped(pairs(tokenizer, 600))


KINDS = {each.__name__: each for each in (unigram, legacy_llama, gpt2, llama3, word_pieces)}
Kind = Callable[[], PreTrainedTokenizerFast]


def whole(tokenizer: PreTrainedTokenizerFast, text: str) -> tuple[int, ...]:
    """Return what the tokenizer itself gives to a text, without our code."""
    return tuple(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)

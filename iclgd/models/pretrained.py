"""Load a language model for a notebook: Hugging Face's own objects, by our names."""

from pathlib import Path

from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from iclgd.models import loading
from iclgd.models.loading import LanguageModelConfig, load_tokenizer
from iclgd.models.model_files import EMBEDDED, silenced


def load_language_model(
    name: str | Path = EMBEDDED,
    *,
    tokenizer: str | Path | None = None,
    revision: str | None = None,
    dtype: str = LanguageModelConfig.dtype,
    untrained: bool = False,
    seed: int = 0,
    attention: str | None = None,
    momentum: float | None = None,
) -> tuple[PreTrainedModel, Tokenizer]:
    """Return a causal language model, in evaluation mode, and its tokenizer.

    Args:
        name: ``embedded``, a folder with a Hugging Face model, or a model's name on the hub.
        tokenizer: a folder or a name, if not the model's own.
        revision: of the model on the hub.
        dtype: ``float32``, ``bfloat16``, ``float16``, or ``auto``, that of its files; key and value projections, which
            finetuning changes, have at least ``float32``.
        untrained: whether to give the model random weights, from the seed.
        seed: of those.
        attention: ``softmax`` or ``momentum``; default: what the model was trained with.
        momentum: eta of the latter, see :mod:`iclgd.models.momentum`; default: the model's own, or 0.9.

    Returns:
        token ids (B, T) to ``logits`` (B, T, V), and texts to token ids.

    Raises:
        LanguageModelError: if they cannot be found or read, or the model has no attention that we know to look into.

    Example:
        >>> model, tokenizer = load_language_model("embedded")
        >>> tokens = tokenizer("a b", return_tensors="pt")["input_ids"]
        >>> model(input_ids=tokens).logits.shape[:2] == tokens.shape
        True
    """
    config = LanguageModelConfig(
        name=str(name),
        tokenizer=None if tokenizer is None else str(tokenizer),
        revision=revision,
        dtype=dtype,
        untrained=untrained,
        attention=attention,
        momentum=momentum,
    )
    with silenced():
        its_tokenizer = load_tokenizer(config)
        model = loading.load_language_model(config, seed).model
    return model.requires_grad_(True), its_tokenizer  # as transformers returns it

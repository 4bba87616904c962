"""Text that a language model makes up."""

import torch
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer


def sample_texts(
    model: PreTrainedModel, tokenizer: Tokenizer, num_texts: int, num_tokens: int, generator: torch.Generator
) -> list[str]:
    """Return texts drawn token by token from a model's own probabilities, neither sharpened nor cut.

    Args:
        model: any causal language model.
        tokenizer: its own; a text begins with its token for that, or else after the one that ends a text.
        num_texts: how many.
        num_tokens: the longest text, the first token included; one that comes to its end is shorter.
        generator: whose seed the texts depend on.
    """
    first = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    start = torch.full((num_texts, 1), first, device=model.device)
    with torch.random.fork_rng(devices=[start.device] if start.is_cuda else []):  # transformers draws from global ones
        torch.manual_seed(generator.initial_seed())
        tokens = model.eval().generate(
            start,
            attention_mask=torch.ones_like(start),
            do_sample=True,
            top_k=0,
            max_length=num_tokens,
            pad_token_id=first if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        )
    special = {tokenizer.pad_token_id, tokenizer.bos_token_id}
    return [tokenizer.decode([token for token in text if token not in special]) for text in tokens.tolist()]

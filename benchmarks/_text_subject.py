"""What the benchmark of the text experiment is run on: a model and its prompts."""

import copy
import dataclasses
import random
from dataclasses import dataclass

import torch
from transformers import GPT2Config, PreTrainedConfig, XGLMConfig

from iclgd.data.prompts import Prompts
from iclgd.models.language import LanguageModel, wrap

SHAPES: dict[str, PreTrainedConfig] = {
    "gpt2": GPT2Config(),  # that of the 124 million parameters
    "tiny": GPT2Config(vocab_size=500, n_positions=512, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0),
}
XGLM = XGLMConfig(  # that of fairseq's GPT 1.3B, the model of Dai et al. 2023
    vocab_size=50264, d_model=2048, ffn_dim=8192, num_layers=24, attention_heads=32
)


@dataclass(frozen=True)
class Subject:
    """What is measured: a model and its prompts."""

    name: str
    model: LanguageModel
    prompts: Prompts

    def copied(self, dtype: torch.dtype = torch.float32) -> "Subject":
        """Return it with a model of its own: ours is changed when it is looked at."""
        model = copy.deepcopy(self.model.model).to(dtype)
        return dataclasses.replace(self, model=wrap(self.name, model))

    def with_queries(self, number: int) -> "Subject":
        """Return it with the first queries only."""
        queries, labels = self.prompts.queries[:number], self.prompts.labels[:number]
        return dataclasses.replace(self, prompts=dataclasses.replace(self.prompts, queries=queries, labels=labels))


def random_subject(
    name: str, shape: PreTrainedConfig, num_demonstrations: int, num_queries: int, dtype: torch.dtype = torch.float32
) -> Subject:
    """Return a model of random weights and prompts of random tokens, about as long as those of the published tasks."""
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = wrap(name, AutoModelForCausalLM.from_config(shape, dtype=dtype))
    generator = random.Random(0)

    def tokens(shortest: int, longest: int) -> tuple[int, ...]:
        return tuple(generator.randrange(shape.vocab_size) for _ in range(generator.randint(shortest, longest)))

    answers = tuple((token,) for token in generator.sample(range(shape.vocab_size), 2))
    labels = tuple(generator.randrange(2) for _ in range(num_demonstrations + num_queries))
    shown = labels[:num_demonstrations]
    start, separator = tokens(1, 1), tokens(1, 1)
    demonstrations = tuple(tokens(26, 28) + answers[label] for label in shown)
    queries = tuple(tokens(25, 30) for _ in range(num_queries))
    prompts = Prompts(start, answers, demonstrations, shown, separator, queries, labels[num_demonstrations:])
    if model.max_length is not None and len(prompts.context) + 30 > model.max_length:
        raise ValueError(f"{name}: {num_demonstrations} demonstrations are too many for {model.max_length} positions")
    return Subject(name, model, prompts)

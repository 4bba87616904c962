"""What demonstrations get of the last token's attention is what transformers shows of whole prompts."""

import pytest
import torch
from torch import Tensor

from iclgd.analysis.kv_context import run_context
from iclgd.analysis.observe import observe
from iclgd.analysis.seen_queries import FinetuningAttention, SeenQueries
from iclgd.data.prompts import Prompts
from iclgd.models.language import LanguageModel
from tests.language_models import (
    ARCHITECTURES,
    query_batch,
    query_tokens,
    random_tokens,
    shown_attention,
    tiny_double,
)

LENGTHS, QUERY_LABELS = [9, 4, 7], [0, 2, 1]
ANSWERS = ((11, 12), (13,), (200,))  # with one that is longer than a token
LABELS = (1, 0, 1, 1)
PROMPTS = Prompts(
    start=(0,),
    answers=ANSWERS,
    demonstrations=tuple(tuple(random_tokens(4 + k, seed=k + 70).tolist()) for k in range(len(LABELS))),
    demonstration_labels=LABELS,
    separator=(5, 6),
    queries=((),) * len(LENGTHS),
    labels=tuple(QUERY_LABELS),
)
TOLERANCE = 1e-6  # most of transformers' eager functions take the softmax in single precision
SPANS = PROMPTS.demonstration_spans


def seen(model: LanguageModel) -> SeenQueries:
    batch = query_batch(LENGTHS)._replace(labels=torch.tensor(QUERY_LABELS))
    in_context = observe(model, batch, ANSWERS, context=run_context(model, PROMPTS.context))
    lengths = [len(each) for each in PROMPTS.demonstrations]
    positions = torch.tensor(PROMPTS.demonstration_positions)
    attention = FinetuningAttention(torch.empty(0), positions, lengths, torch.tensor(LABELS))
    return SeenQueries(batch, in_context, in_context, in_context, attention, 0, "gaussian")


def parted(weights: Tensor) -> list[Tensor]:
    """Return the sums of start, separators, each demonstration and query of what all tokens have, ``(..., S)``."""
    of_demonstrations = [weights[..., start:stop].sum(-1) for start, stop in SPANS]
    start, query = weights[..., : SPANS[0][0]].sum(-1), weights[..., len(PROMPTS.context) :].sum(-1)
    separators = weights.sum(-1) - start - query - sum(of_demonstrations)
    return [start, separators, *of_demonstrations, query]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_shares_are_those_of_eager_attention_to_whole_prompts(name: str) -> None:
    model = tiny_double(name)
    found = seen(model)
    queries = query_tokens(query_batch(LENGTHS))
    shown = [shown_attention(model.model, torch.tensor([[*PROMPTS.context, *query]])) for query in queries]
    assert found.shares.demonstrations.shape == (len(LENGTHS), model.num_layers, len(LABELS))
    for row, layers in enumerate(shown):
        for layer, weights in enumerate(layers):
            whole = weights[0, :, -1].double()
            even = (whole > 0).any(0).double() / (whole > 0).any(0).sum()
            paid, if_even = parted(whole.mean(0)), parted(even)
            for shares, expected in zip(found.all_shares, (paid, if_even), strict=True):
                assert torch.allclose(shares[row, layer], torch.stack(expected), rtol=0, atol=TOLERANCE)
            for share, of in zip(found.right_label, (paid, if_even), strict=True):
                right = [each for each, label in zip(of[2:-1], LABELS, strict=True) if label == QUERY_LABELS[row]]
                expected_share = float(sum(right)) / float(sum(of[2:-1]))
                assert share[row, layer].item() == pytest.approx(expected_share, abs=TOLERANCE)


def test_scores_that_are_not_finite_have_no_shares() -> None:
    found = seen(tiny_double("gpt2"))
    assert found.in_context.context_scores is not None
    found.in_context.context_scores[1, 2, 0, 3] = torch.nan
    is_known = found.shares.demonstrations.isfinite().all(-1)
    assert (~is_known).nonzero().tolist() == [[1, 2]]
    assert (~found.right_label[0].isfinite()).nonzero().tolist() == [[1, 2]]

"""Tokens of prompts beside those that a tokenizer gives to the whole text, for tokenizers of all kinds."""

import itertools
from collections.abc import Sequence

import pytest
from tokenizers import normalizers, processors
from transformers import BertTokenizer, PreTrainedTokenizerFast

from iclgd.data.prompt_tokens import PromptError, encode, start_tokens
from iclgd.data.prompts import DemonstrationsConfig, Prompts, build_prompts
from iclgd.data.text import TextExample, TextSource, TextTask
from tests.tokenizers import KINDS, Kind, across_words, gpt2, legacy_llama, llama3, unigram, whole, word_pieces

TEXTS = ["a gem .", "dull film", "好电影", "it's 10", 'quote "x"']
of_all_kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
TEMPLATES = [
    "Positive or Negative? {text}",
    "Review: {text} Sentiment:",
    'He said "{text}"',
    "{text}",
    "{text}\nReview",
]
ANSWERS = [("Positive", "Negative"), ("very good film", "not so good"), ("积极", "a")]


def a_task(template: str, answers: Sequence[str] = ANSWERS[0]) -> TextTask:
    return TextTask("toy", 1, "toy", template, tuple(answers), TextSource(path="a/b"))


def build(tokenizer: PreTrainedTokenizerFast, task: TextTask, texts: Sequence[str] = TEXTS, **keys: str) -> Prompts:
    rows = [TextExample({"text": text}, index % 2) for index, text in enumerate(texts)]
    config = DemonstrationsConfig(num=len(rows) - 2, **keys)
    return build_prompts(task, tokenizer, rows[:-2], rows[-2:], config, 10_000)


@of_all_kinds
def test_tokens_are_those_of_the_whole_text(kind: Kind) -> None:
    tokenizer = kind()
    num_seen = 0
    for template, answers in itertools.product(TEMPLATES, ANSWERS):
        task = a_task(template, answers)
        prompts = build(tokenizer, task, separator="")
        for text, label, tokens in zip(TEXTS, prompts.demonstration_labels, prompts.demonstrations, strict=False):
            assert tokens == whole(tokenizer, f"{template.format(text=text)} {answers[label]}")
        for text, query in zip(TEXTS[-2:], prompts.queries, strict=True):
            assert query == whole(tokenizer, template.format(text=text))
            for answer, tokens in zip(answers, prompts.answers, strict=True):
                assert query + tokens == whole(tokenizer, f"{template.format(text=text)} {answer}")
                num_seen += 1
        assert not [note for note in prompts.notes if "apart" in note]
    assert num_seen == 60


@pytest.mark.parametrize("kind", [gpt2, llama3])
@pytest.mark.parametrize("separator", ["\n", "\n\n", "\n\n\n"])
def test_contexts_of_byte_level_tokenizers_are_the_whole_text(kind: Kind, separator: str) -> None:
    tokenizer, task = kind(), a_task("Review: {text} Sentiment:")
    prompts = build(tokenizer, task, separator=separator)
    parts = [f"Review: {text} Sentiment: {task.answers[index % 2]}" for index, text in enumerate(TEXTS[:-2])]
    text = separator.join([*parts, f"Review: {TEXTS[-2]} Sentiment:"])
    assert prompts.context[len(prompts.start) :] + prompts.queries[0] == whole(tokenizer, text)
    assert prompts.notes == ()


def test_demonstrations_keep_the_mark_of_their_beginning() -> None:
    tokenizer, task = legacy_llama(), a_task("Review: {text} Sentiment:")
    prompts = build(tokenizer, task, separator="\n")
    parts = [f"Review: {text} Sentiment: {task.answers[index % 2]}" for index, text in enumerate(TEXTS[:-2])]
    text = "\n ".join([*parts, f"Review: {TEXTS[-2]} Sentiment:"])
    assert prompts.context[1:] + prompts.queries[0] == whole(tokenizer, text)
    assert prompts.notes == ()


@pytest.mark.parametrize("separator", [" ", " ### "])
def test_separators_that_would_join_are_noted(separator: str) -> None:
    prompts = build(gpt2(), a_task("film: {text}"), separator=separator)
    assert prompts.notes == (
        f"demonstrations.separator={separator!r}: in a whole text the tokenizer joins it with what stands beside it; "
        "here they are tokenized apart",
    )
    assert prompts.separator == whole(gpt2(), separator)


def test_prompts_do_not_depend_on_the_answer_that_would_join() -> None:
    tokenizer = across_words()
    prompts = build(tokenizer, a_task("Review: {text} Sentiment:"))
    joint = whole(tokenizer, "Review: a gem . Sentiment: Negative")
    query = whole(tokenizer, f"Review: {TEXTS[-1]} Sentiment:")
    assert joint[: len(query)] != query
    assert prompts.queries[-1] == query
    assert [tokenizer.convert_ids_to_tokens(list(answer))[0][0] for answer in prompts.answers] == ["Ġ", "Ġ"]
    assert "in a whole text the tokenizer joins the answer 'Negative' with what stands before it in 2 of 2 prompts" in (
        " ".join(prompts.notes)
    )


@of_all_kinds
@pytest.mark.parametrize("name", ["<s>", "</s>", "<unk>"])
def test_text_stays_text(kind: Kind, name: str) -> None:
    tokenizer = kind()
    names = {name: index for index, name in enumerate(tokenizer.all_special_tokens)}
    control = {tokenizer.convert_tokens_to_ids(each) for each in names}
    assert control & set(tokenizer(f"a gem {name} of", add_special_tokens=False)["input_ids"])
    texts = ["a gem", f"a gem {name} of", f"{name}{name}", f"film{name}"]
    plain = encode(tokenizer, texts)
    assert plain[0] == whole(tokenizer, "a gem")
    unknown = {tokenizer.unk_token_id} if name != "<unk>" else set()
    for tokens in plain:
        assert not (control - unknown) & set(tokens)
    characters = "".join(tokenizer.convert_ids_to_tokens(list(plain[3]))).replace("#", "")
    assert name.strip("<>") in characters


def test_control_tokens_come_from_the_config_alone() -> None:
    tokenizer = llama3()
    task = a_task("<s>{text} </s> Sentiment:", ("</s>", "<s>"))
    prompts = build(tokenizer, task, ["a <s>", "b </s>", "</s>", "<s>"], separator="eos")
    assert prompts.start == (tokenizer.bos_token_id,)
    assert prompts.separator == (tokenizer.eos_token_id,)
    for tokens in (*prompts.demonstrations, *prompts.queries, *prompts.answers):
        assert not {tokenizer.bos_token_id, tokenizer.eos_token_id} & set(tokens)
    assert tokenizer.eos_token_id not in build(tokenizer, task, separator="</s>").separator


def test_a_python_tokenizer_that_makes_control_tokens_is_refused() -> None:
    class Slow:
        is_fast, unk_token_id, added_tokens_decoder = False, None, {}
        all_special_ids, all_special_tokens = [2], ["</s>"]

        def __call__(self, texts: list[str], **keys: object) -> dict[str, list[list[int]]]:
            return {"input_ids": [[2 if word == "</s>" else 7 for word in text.split()] for text in texts]}

    slow: object = Slow()
    assert encode(slow, ["a b"]) == ((7, 7),)  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="makes a control token of a part of 'a </s>'"):
        encode(slow, ["a </s>"])  # type: ignore[arg-type]


STARTS = [(unigram, "</s>", "<s>"), (legacy_llama, "<s>", "<s>"), (gpt2, None, "<s>"), (llama3, "<s>", "<s>")]


@pytest.mark.parametrize(("kind", "auto", "always"), STARTS)
def test_the_start_is_what_the_tokenizer_puts_there(kind: Kind, auto: str | None, always: str) -> None:
    tokenizer = kind()
    own = () if auto is None else (tokenizer.convert_tokens_to_ids(auto),)
    assert start_tokens(tokenizer, "auto") == own
    assert own + whole(tokenizer, "a gem") == tuple(tokenizer("a gem")["input_ids"])
    assert start_tokens(tokenizer, "always") == (tokenizer.convert_tokens_to_ids(always),)
    assert start_tokens(tokenizer, "never") == ()
    prompts = build(tokenizer, a_task("Review: {text}"), start_token="always")
    assert any("start_token=always" in note for note in prompts.notes) == (auto != always)


def test_starts_of_several_tokens_and_none() -> None:
    tokenizer = legacy_llama()
    special = [("<s>", 1), ("</s>", 2)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="</s> <s> $A </s>", special_tokens=special
    )
    assert start_tokens(tokenizer, "auto") == (2, 1)
    nameless = PreTrainedTokenizerFast(tokenizer_object=gpt2().backend_tokenizer)
    assert start_tokens(nameless, "always") == ()
    pieces = word_pieces()
    vocabulary = pieces.get_vocab() | {"[CLS]": 200, "[SEP]": 201, "[UNK]": 202, "[PAD]": 203, "[MASK]": 204}
    bert = BertTokenizer(vocab=vocabulary)
    assert start_tokens(bert, "auto") == (bert.cls_token_id,)


def test_prompts_without_tokens_are_refused() -> None:
    tokenizer = gpt2()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("film", "")
    with pytest.raises(PromptError, match="toy: the tokenizer has no token for the prompt 'film'"):
        build(tokenizer, a_task("{text}"), ["a", "b", "film", "c"])

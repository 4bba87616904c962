from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from iclgd.data.prompts import (
    DemonstrationsConfig,
    PromptError,
    Prompts,
    build_prompts,
    select_demonstrations,
)
from iclgd.data.seeding import named_generator
from iclgd.data.shuffled_labels import shuffle_labels
from iclgd.data.text import TextExample, TextSource, TextTask

TASK = TextTask("toy", 1, "toy", "Say: {text} Mood:", ("sad", "happy"), TextSource(path="a/b"))
TEXTS = ["rain all day", "the sun", "a cold wind", "warm", "the rain and the sun", "wind"]
WORDS = ["<unk>", "<s>", "</s>", "Say", "Mood", ":", "sad", "happy", "sun", "rain", "the", "a", "and", "\n"]


def word_level(words: Sequence[str] = WORDS, **special: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **special)


def full(words: Sequence[str] = WORDS) -> PreTrainedTokenizerFast:
    return word_level(words, bos_token="<s>", eos_token="</s>")


def bytes_without_special_tokens() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([f"Say: {text} Mood: {mood}" for text in TEXTS for mood in TASK.answers], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def with_a_space_before_everything() -> PreTrainedTokenizerFast:
    """As SentencePiece: spaces are marked, and texts get one in front."""
    pieces = ["<unk>", "<s>", "▁", "\n", *sorted(set("Say:Mood" + "".join(TASK.answers) + "".join(TEXTS)) - {" "})]
    merges = [("▁", "s"), ("▁", "h")]
    vocabulary = {piece: index for index, piece in enumerate([*pieces, *("".join(merge) for merge in merges)])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Replace("▁", " ")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>")


def tokens(text: str) -> tuple[int, ...]:
    return tuple(WORDS.index(word) for word in text.split())


def examples(num: int, classes: int = 2) -> list[TextExample]:
    return [TextExample({"text": f"{TEXTS[index % len(TEXTS)]} {index}"}, index % classes) for index in range(num)]


def build(
    tokenizer: PreTrainedTokenizerFast,
    task: TextTask = TASK,
    num: int = 3,
    num_queries: int = 4,
    max_length: int = 1000,
    **keys: Any,
) -> Prompts:
    rows = examples(num + num_queries)
    return build_prompts(task, tokenizer, rows[:num], rows[num:], DemonstrationsConfig(num=num, **keys), max_length)


def select(rows: list[TextExample], answers: Sequence[str] = TASK.answers, **keys: Any) -> list[TextExample]:
    return select_demonstrations(rows, DemonstrationsConfig(**keys), answers)


def message(action: Any, *arguments: Any, **keys: Any) -> str:
    with pytest.raises(PromptError) as error:
        action(*arguments, **keys)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_parts_of_prompts() -> None:
    prompts = build(full(), num=1, num_queries=1, separator="eos")
    demonstration = tokens("Say : rain <unk> <unk> <unk> Mood : sad")
    assert prompts == Prompts(
        start=(1,),
        answers=(tokens("sad"), tokens("happy")),
        demonstrations=(demonstration,),
        demonstration_labels=(0,),
        separator=(2,),
        queries=(tokens("Say : the sun <unk> Mood :"),),
        labels=(1,),
        query_texts=("Say: the sun 1 Mood:",),
        answer_texts=("sad", "happy"),
    )
    assert prompts.context == (1, *demonstration, 2)
    assert prompts.finetuning_examples == ((1, *demonstration),)


def test_spans_are_the_demonstrations() -> None:
    for tokenizer in (full(), bytes_without_special_tokens(), with_a_space_before_everything()):
        prompts = build(tokenizer, num=5)
        assert len(prompts.start) == (tokenizer.bos_token_id is not None)
        shown = [prompts.context[start:stop] for start, stop in prompts.demonstration_spans]
        assert tuple(shown) == prompts.demonstrations
        assert prompts.demonstration_spans[-1][1] + len(prompts.separator) == len(prompts.context)
        assert prompts.finetuning_examples == tuple(prompts.start + own for own in shown)


def test_byte_level_context_is_the_text() -> None:
    tokenizer = bytes_without_special_tokens()
    prompts = build(tokenizer, num=2, num_queries=1)
    text = tokenizer.decode(prompts.context + prompts.queries[0] + prompts.answers[prompts.labels[0]])
    assert text == "Say: rain all day 0 Mood: sad\nSay: the sun 1 Mood: happy\nSay: a cold wind 2 Mood: sad"


def test_demonstrations_of_another_task() -> None:
    other = TextTask("other", 1, "other", "{text} and:", ("sun", "rain", "the"), TextSource(path="a/b"))
    rows = [TextExample({"text": "a"}, 2), TextExample({"text": "the"}, 1)]
    prompts = build_prompts(TASK, full(), rows, examples(1), DemonstrationsConfig(), 100, other)
    assert prompts.demonstrations == (tokens("a and : the"), tokens("the and : rain"))
    assert prompts.demonstration_labels == (2, 1)
    assert prompts.answers == (tokens("sad"), tokens("happy"))
    assert prompts.queries == (tokens("Say : rain <unk> <unk> <unk> Mood :"),)
    unknown = replace(other, answers=("sun", "snow"))
    expected = "other: the tokenizer does not know the answer 'snow'"
    assert message(build_prompts, TASK, full(), rows, examples(1), DemonstrationsConfig(), 100, unknown) == expected


def test_answers_have_one_space() -> None:
    tokenizer = with_a_space_before_everything()
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode(" sad", add_special_tokens=False))[:2] == ["▁", "▁s"]
    prompts = build(tokenizer, num=2, num_queries=1)
    assert [tokenizer.convert_ids_to_tokens(list(answer))[:2] for answer in prompts.answers] == [
        ["▁s", "a"],
        ["▁h", "a"],
    ]
    assert tokenizer.convert_ids_to_tokens(list(prompts.separator)) == ["\n"]
    joint = tokenizer.encode("Say: rain all day 0 Mood: sad", add_special_tokens=False)
    assert prompts.demonstrations[0] == tuple(joint)


def test_answers_are_tokenized_alone_where_they_merge_with_the_prompt() -> None:
    vocabulary = ["<unk>", "M", ":", "Ġ", "x", "y", ":Ġ", "Ġx", "Ġy", ":Ġx"]
    merges = [(":", "Ġ"), (":Ġ", "x"), ("Ġ", "x"), ("Ġ", "y")]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(vocabulary)}, merges))
    tokenizer.normalizer = normalizers.Replace(" ", "Ġ")
    merging = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    task = TextTask("toy", 1, "toy", "{text} M:", ("x", "y"), TextSource(path="a/b"))
    prompts = build(merging, task, num=1)
    assert [merging.convert_ids_to_tokens(list(answer)) for answer in prompts.answers] == [["Ġx"], ["Ġy"]]


def test_several_tokens_to_an_answer() -> None:
    tokenizer = with_a_space_before_everything()
    task = replace(TASK, answers=("sad", "sun", "happy", "soon"))
    prompts = build(tokenizer, task, num=2)
    assert [len(answer) for answer in prompts.answers] == [3, 3, 5, 4]
    assert prompts.notes == (
        "answers 'sad', 'sun' and 'soon' share their first token: "
        "each is scored by the mean log-probability of all its tokens",
    )
    assert build(tokenizer).notes == ()


def test_all_queries_are_tokenized_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    original = PreTrainedTokenizerFast.__call__

    def count(self: Any, texts: list[str], **keys: Any) -> Any:
        calls.append(len(texts))
        return original(self, texts, **keys)

    monkeypatch.setattr(PreTrainedTokenizerFast, "__call__", count)
    build(full(), num_queries=50)
    assert calls.count(50) == 1
    assert len(calls) < 10


@pytest.mark.parametrize(
    ("task", "words", "expected"),
    [
        (replace(TASK, answers=("sad", "glad")), WORDS, "toy: the tokenizer does not know the answer 'glad'"),
        (
            replace(TASK, answers=("a rain", "a sun")),
            [word for word in WORDS if word not in ("rain", "sun")],
            "toy: the answers 'a rain' and 'a sun' have the same tokens",
        ),
    ],
)
def test_answers_must_be_known_and_differ(task: TextTask, words: list[str], expected: str) -> None:
    assert message(build, full(words), task) == expected


def test_answers_without_tokens_are_unknown() -> None:
    tokenizer = full()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("happy", "")
    assert message(build, tokenizer) == "toy: the tokenizer does not know the answer 'happy'"


def test_the_end_of_sequence_must_exist() -> None:
    expected = "demonstrations.separator=eos: the tokenizer has no end-of-sequence token"
    assert message(build, word_level(bos_token="<s>"), separator="eos") == expected


def test_separators_may_be_empty() -> None:
    assert build(full(), separator="").separator == ()
    assert build(bytes_without_special_tokens(), separator="\n\n").separator != ()


def test_there_must_be_something_to_ask() -> None:
    assert message(build, full(), num_queries=0) == "toy: expected demonstrations and queries, got 3 and 0"
    expected = "toy: expected demonstrations and queries, got 0 and 1"
    assert message(build_prompts, TASK, full(), [], examples(1), DemonstrationsConfig(), 100) == expected


# The demonstrations have 9, 8 and 9 tokens and no separator (the tokenizer drops line breaks), the longest of the
# queries 10, start and answer 1 each.
@pytest.mark.parametrize(("max_length", "kept"), [(38, 3), (37, 2), (29, 2), (28, 1), (21, 1)])
def test_overflow_drops_the_last_demonstrations(max_length: int, kept: int) -> None:
    prompts = build(full(), max_length=max_length, overflow="drop")
    longest = max(len(query) for query in prompts.queries)
    assert len(prompts.demonstrations) == len(prompts.demonstration_labels) == kept
    assert prompts.demonstrations == build(full()).demonstrations[:kept]
    assert len(prompts.context) + longest + 1 <= max_length
    lengths = f"3 demonstrations have 26 tokens, the longest query has 10 tokens, the model's limit is {max_length}"
    if kept < 3:
        assert prompts.notes == (f"demonstrations.num={kept}, not 3: the last ones are dropped: {lengths}",)
        assert message(build, full(), max_length=max_length) == (
            f"toy: too long: {lengths}; set demonstrations.num={kept} or less, demonstrations.overflow=drop, or "
            "task.overlong=drop"
        )
    else:
        assert build(full(), max_length=max_length) == prompts


@pytest.mark.parametrize("overflow", ["refuse", "drop"])
def test_what_cannot_fit_is_refused(overflow: str) -> None:
    assert message(build, full(), max_length=20, overflow=overflow) == (
        "toy: too long even with one demonstration: it has 9 tokens, the longest query has 10 tokens, "
        "the model's limit is 20; take another demonstrations.seed, task.overlong=drop or a model with a longer context"
    )
    assert message(build, full(), max_length=11, overflow=overflow) == (
        "toy: too long even without demonstrations: the longest query has 10 tokens, the model's limit is 11, "
        "start and answer included; set task.overlong=drop, which leaves out the query "
        "'Say: the rain and the sun 4 Mood:', or take a model with a longer context"
    )


def test_separators_count_too() -> None:
    assert len(build(full(), max_length=41, overflow="drop", separator="eos").demonstrations) == 3
    assert len(build(full(), max_length=40, overflow="drop", separator="eos").demonstrations) == 2


@pytest.mark.parametrize("selection", ["random", "balanced"])
def test_selection_is_seeded(selection: str) -> None:
    rows = examples(100, classes=3)
    answers = ("a", "b", "c")
    first, again, other = (select(rows, answers, num=9, selection=selection, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert len({example.fields["text"] for example in first}) == 9
    assert all(example in rows for example in first)


def test_fewer_random_demonstrations_are_the_first_of_more() -> None:
    rows = examples(100)
    assert select(rows, num=4) == select(rows, num=20)[:4]


@pytest.mark.parametrize(("num", "expected"), [(9, [3, 3, 3]), (10, [4, 3, 3]), (11, [4, 4, 3]), (2, [1, 1, 0])])
def test_balanced_classes(num: int, expected: list[int]) -> None:
    chosen = select(examples(60, classes=3), ("a", "b", "c"), num=num, selection="balanced")
    counts = Counter(example.label for example in chosen)
    assert [counts[label] for label in range(3)] == expected
    labels = [example.label for example in chosen]
    assert num == 2 or labels != sorted(labels)


def test_first_is_in_file_order() -> None:
    rows = examples(10)
    assert select(rows, num=4, selection="first", seed=3) == rows[:4]


@pytest.mark.parametrize("selection", ["random", "balanced", "first"])
def test_permutations_reorder_the_same_rows(selection: str) -> None:
    def texts(**keys: int) -> list[str]:
        chosen = select(examples(40), num=10, selection=selection, **keys)
        return [example.fields["text"] for example in chosen]

    assert texts(permutation=1) == texts(permutation=1)
    orders = [texts(permutation=permutation) for permutation in range(4)]
    assert len({tuple(order) for order in orders}) == 4
    assert len({frozenset(order) for order in orders}) == 1


def test_too_few_rows() -> None:
    assert message(select, examples(5), num=6) == (
        "demonstrations.num must be at most 5, the training rows there are; got 6"
    )
    rows = [example for example in examples(20) if example.label == 0]
    assert message(select, rows, num=5, selection="balanced") == (
        "demonstrations.selection=balanced needs 2 training rows with the answer 'happy', but there are 0"
    )
    rows = [*examples(20), *examples(6, classes=3)]  # two of the third class
    assert message(select, rows, ("a", "b", "c"), num=9, selection="balanced") == (
        "demonstrations.selection=balanced needs 3 training rows with the answer 'c', but there are 2"
    )


def test_shuffled_labels_are_the_same_labels() -> None:
    rows = examples(20, classes=3)
    shuffled = shuffle_labels(rows, named_generator(0, "labels"))
    assert shuffled == shuffle_labels(rows, named_generator(0, "labels"))
    assert [example.fields for example in shuffled] == [example.fields for example in rows]
    assert Counter(example.label for example in shuffled) == Counter(example.label for example in rows)
    assert shuffled != rows


def test_shuffled_labels_differ_if_they_can() -> None:
    for seed in range(10):
        generator = named_generator(seed, "labels")
        assert [example.label for example in shuffle_labels(examples(2), generator)] == [1, 0]
        assert shuffle_labels(examples(3, classes=1), generator) == examples(3, classes=1)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"num": 0}, "demonstrations.num must be at least 1, got 0"),
        ({"seed": -1}, "demonstrations.seed must be at least 0, got -1"),
        ({"permutation": -1}, "demonstrations.permutation must be at least 0, got -1"),
        ({"selection": "best"}, "demonstrations.selection must be one of: random, balanced, first; got 'best'"),
        ({"overflow": "cut"}, "demonstrations.overflow must be one of: refuse, drop; got 'cut'"),
    ],
)
def test_bad_values_are_named(keys: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError) as error:
        DemonstrationsConfig(**keys)
    assert str(error.value) == expected

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from iclgd.data.few_shot_language import LABELS, TOPICS, VOCABULARY, FewShotLanguageConfig, make_tokenizer
from iclgd.data.language_datamodule import training_batch
from tests.few_shot_tasks import TASKS, FewShotTask, write_task

ASSETS = Path(__file__).parents[2] / "iclgd" / "assets"
SMALL = FewShotLanguageConfig(num_demonstrations=6, num_words=4)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def words_of(tokens: Tensor) -> list[str]:
    return [VOCABULARY[token] for token in tokens]


def test_every_word_has_one_meaning() -> None:
    assert len(set(VOCABULARY)) == len(VOCABULARY)
    assert {len(words.split()) for words in TOPICS.values()} == {16}


def test_the_same_seed_gives_the_same_tokens() -> None:
    first, second, other = (SMALL.sample(8, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.tokens, second.tokens)
    assert not torch.equal(first.tokens, other.tokens)


def test_a_sequence_is_demonstrations_after_the_start() -> None:
    tokens, is_label = SMALL.sample(8, generator())
    assert is_label is not None
    assert tokens.shape == is_label.shape == (8, SMALL.num_tokens)
    assert all(VOCABULARY[token] == "<s>" for token in tokens[:, 0])
    for sequence in tokens:
        for demonstration in sequence[1:].view(6, 7):
            *words, marker, label, separator = words_of(demonstration)
            assert (marker, separator) == (":", ";")
            assert label in LABELS
            assert not {*words} & {*LABELS, ":", ";", "<s>"}
    assert is_label.sum(1).tolist() == [6] * 8
    assert set(words_of(tokens[is_label])) <= set(LABELS)


def test_shards_concatenate_to_the_batch_of_one_process() -> None:
    whole = training_batch(SMALL, seed=3, step=7, batch_size=6)
    parts = [training_batch(SMALL, seed=3, step=7, batch_size=6, shard=(rank, 2)) for rank in range(2)]
    for name in whole._fields:
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    assert not torch.equal(whole.tokens, training_batch(SMALL, seed=3, step=8, batch_size=6).tokens)


def clear_demonstrations(config: FewShotLanguageConfig, num_sequences: int) -> tuple[Tensor, Tensor]:
    """Return the topics that the words tell, and the labels, (B, N) each; all words must be of the topic."""
    tokens, is_label = config.sample(num_sequences, generator())
    assert is_label is not None
    labels = tokens[is_label].view(num_sequences, -1) - VOCABULARY.index(LABELS[0])
    first_words = tokens[:, 1 :: config.num_words + 3] - VOCABULARY.index(TOPICS[LABELS[0]].split()[0])
    return first_words // 16, labels


@pytest.mark.parametrize(("prior_share", "label_noise"), [(0.5, 0.0), (0.75, 0.0), (1.0, 0.2)])
def test_topics_keep_their_label_as_often_as_said(prior_share: float, label_noise: float) -> None:
    config = replace(
        SMALL, num_demonstrations=1, prior_share=prior_share, label_noise=label_noise, topic_share=1.0, common_share=0.0
    )
    topics, labels = clear_demonstrations(config, 4000)
    expected = prior_share * (1 - label_noise) + (1 - prior_share) * label_noise / (len(LABELS) - 1)
    deviation = (expected * (1 - expected) / 4000) ** 0.5
    assert (topics == labels).double().mean().item() == pytest.approx(expected, abs=4 * deviation)


def test_a_sequence_labels_a_topic_in_one_way_but_for_the_noise() -> None:
    config = replace(SMALL, num_demonstrations=40, label_noise=0.0, topic_share=1.0, common_share=0.0)
    topics, labels = clear_demonstrations(config, 50)
    for of_topics, of_labels in zip(topics.tolist(), labels.tolist(), strict=True):
        mapping = dict(zip(of_topics, of_labels, strict=True))
        assert [mapping[topic] for topic in of_topics] == of_labels
        assert 2 <= len(mapping) <= 5


def test_words_come_from_topics_as_often_as_said() -> None:
    config = replace(SMALL, topic_share=0.5, common_share=0.3)
    words = config.sample_words(torch.zeros(5000, dtype=torch.long), generator())
    first = VOCABULARY.index(TOPICS[LABELS[0]].split()[0])
    is_common, is_topic = words >= VOCABULARY.index("old"), (words >= first) & (words < first + 16)
    assert is_common.double().mean().item() == pytest.approx(0.3, abs=0.015)
    assert is_topic.double().mean().item() == pytest.approx(0.5 + 0.2 / len(LABELS), abs=0.015)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_words": 0}, "task.num_words must be at least 1, got 0"),
        ({"max_topics": 9}, "task.max_topics must be at most 8, got 9"),
        ({"max_topics": 1}, "task.max_topics must be at least 2, got 1"),
        ({"label_noise": 1.5}, "task.label_noise must be at most 1, got 1.5"),
        ({"topic_share": 0.9, "common_share": 0.2}, "task.topic_share + task.common_share must be at most 1, got 1.1"),
    ],
)
def test_bad_languages_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message.replace("+", r"\+")):
        FewShotLanguageConfig(**change)  # type: ignore[arg-type]


def test_the_tokenizer_and_the_language_agree() -> None:
    tokens, _ = SMALL.sample(5, generator())
    tokenizer = make_tokenizer(64)
    for sequence in tokens:
        text = " ".join(words_of(sequence[1:]))
        assert tokenizer(text).input_ids == sequence.tolist()
        assert tokenizer(text.replace(" ; ", "\n")).input_ids == sequence.tolist(), "as the text experiment joins them"
        assert tokenizer.decode(sequence[1:]) == text
    assert tokenizer("unheard").input_ids[1] == tokenizer.unk_token_id
    special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert [VOCABULARY[token] for token in special] == ["<s>", "</s>", "<pad>"]


def test_rows_have_the_labels_of_their_topics() -> None:
    task = FewShotTask({"art": "work", "work": "art", "food": "work"})
    assert task.labels == ("work", "art")
    language = replace(SMALL, topic_share=1.0, common_share=0.0)
    rows = task.rows(language, 50, generator())
    for row in rows:
        word = str(row["text"]).split()[0]
        (topic,) = (topic for topic, words in TOPICS.items() if word in words.split())
        assert task.labels[int(str(row["label"]))] == task.answers[topic]


@pytest.mark.parametrize("answers", [{"art": "art", "dance": "work"}, {"art": "art", "work": "art"}])
def test_bad_tasks_are_refused(answers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"topics and labels must be of|at least 2 different labels"):
        FewShotTask(answers)


@pytest.mark.parametrize("name", TASKS)
def test_the_shipped_tasks_are_the_written_ones(name: str, tmp_path: Path) -> None:
    write_task(name, tmp_path)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert len(files) == 3
    for file in files:
        assert (tmp_path / file).read_text() == (ASSETS / "tasks" / file).read_text()
    rows = [json.loads(line) for line in (tmp_path / name / "train.jsonl").read_text().splitlines()]
    assert {row["label"] for row in rows} == set(range(len(TASKS[name].labels)))


def test_the_shipped_tokenizer_is_that_of_the_language() -> None:
    tokens, _ = SMALL.sample(2, generator())
    shipped = AutoTokenizer.from_pretrained(ASSETS / "embedded")
    assert shipped(" ".join(words_of(tokens[0, 1:]))).input_ids == tokens[0].tolist()


def test_the_shipped_model_is_small_and_learns_in_its_context() -> None:
    folder = ASSETS / "embedded"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4_500_000
    assert (folder / "model.safetensors").stat().st_size <= 4 * 2**20
    model = AutoModelForCausalLM.from_pretrained(folder)
    language = FewShotLanguageConfig()
    tokens, is_label = language.sample(100, generator(5))
    assert is_label is not None
    with torch.no_grad():
        guesses = model(tokens[:, :-1]).logits.argmax(-1)
    is_right = (guesses == tokens[:, 1:])[is_label[:, 1:]].view(100, -1).double()
    none, few, many = is_right[:, 0].mean(), is_right[:, 2:6].mean(), is_right[:, 20:].mean()
    assert none > 2 / len(LABELS)
    assert few > none + 0.05
    assert many > few + 0.05

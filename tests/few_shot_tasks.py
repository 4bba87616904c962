"""Classification tasks of the generated language, as rows on the disk like those of any other text task."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from iclgd.data.few_shot_language import LABELS, MARKER, VOCABULARY, FewShotLanguageConfig
from iclgd.data.seeding import named_generator

NUM_ROWS = {"train": 300, "validation": 512}


@dataclass(frozen=True)
class FewShotTask:
    """One way to label topics.

    Args:
        answers: the label of each topic that its texts are from. Where it is not the topic's own, knowing the language
            misleads, or leaves open which of the task's labels it is.

    Raises:
        ValueError: for a topic or label that the language does not have, or fewer than two labels.
    """

    answers: Mapping[str, str]

    def __post_init__(self) -> None:
        if unknown := (set(self.answers) | set(self.answers.values())) - set(LABELS):
            raise ValueError(f"topics and labels must be of: {', '.join(LABELS)}; got {', '.join(sorted(unknown))}")
        if len(self.labels) < 2:
            raise ValueError(f"answers must be at least 2 different labels, got {', '.join(self.labels)}")

    @property
    def labels(self) -> tuple[str, ...]:
        """Return its labels; a row's label is the index of one."""
        return tuple(dict.fromkeys(self.answers.values()))

    def rows(
        self, language: FewShotLanguageConfig, num_rows: int, generator: torch.Generator
    ) -> list[dict[str, object]]:
        """Draw examples, with the right label each: ``{"text": ..., "label": ...}``, an index of ``labels``.

        Example:
            >>> task = FewShotTask({"art": "work", "work": "art"})
            >>> task.rows(FewShotLanguageConfig(num_words=3), 1, torch.Generator().manual_seed(0))
            [{'text': 'harp easel chord', 'label': 0}]
        """
        device = generator.device
        chosen = torch.randint(len(self.answers), (num_rows,), generator=generator, device=device)
        topics = torch.tensor([LABELS.index(topic) for topic in self.answers], device=device)[chosen]
        answers = tuple(self.answers.values())
        words = language.sample_words(topics, generator)
        return [
            {
                "text": " ".join(VOCABULARY[word] for word in text),
                "label": self.labels.index(label),
            }
            for text, label in zip(words.tolist(), (answers[topic] for topic in chosen.tolist()), strict=True)
        ]


TASKS = {  # some topics have their own label, others one that is not the first guess of who knows the language alone
    "embedded": FewShotTask({"nature": "nature", "home": "home", "food": "play", "science": "travel"}),
    "embedded_two": FewShotTask({"food": "food", "science": "science", "nature": "science"}),
    "embedded_three": FewShotTask({"food": "food", "work": "work", "nature": "play", "science": "play"}),
    "embedded_five": FewShotTask(
        {"play": "play", "food": "food", "science": "home", "nature": "art", "travel": "work"}
    ),
}


def write_task(name: str, folder: Path, seed: int = 0) -> None:
    """Write one of ``TASKS``: ``NAME.yaml``, and its rows as ``NAME/train.jsonl`` and ``NAME/validation.jsonl``.

    Raises:
        OSError: if they cannot be written.
    """
    task, language = TASKS[name], FewShotLanguageConfig()
    (folder / name).mkdir(parents=True, exist_ok=True)
    for split, num_rows in NUM_ROWS.items():
        rows = task.rows(language, num_rows, named_generator(seed, f"{name}/{split}"))
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / name / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    mapped = ", ".join(f"{topic} is {answer}" for topic, answer in task.answers.items())
    yaml = (
        "version: 1\n"
        f'description: "{len(task.labels)} labels for topics of the generated language: {mapped}"\n'
        f'template: "{{text}} {MARKER}"\n'
        f"answers: [{', '.join(task.labels)}]\n"
        "label: label\n"
        f"source: {{data_dir: {name}}}\n"
    )
    (folder / f"{name}.yaml").write_text(yaml, encoding="utf-8")

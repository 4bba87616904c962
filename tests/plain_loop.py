"""A text run again, as a plain loop over whole prompts with transformers: ``python -m tests.plain_loop RUN_DIR``.

No cache, no batches, no hooks, and of the package only its configs, the queries, and the demonstrations that a seed
draws (none of which may have been dropped). Every prompt is one text, tokenized whole; finetuning is one step of plain
gradient descent on each demonstration.
"""

import argparse
import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from iclgd import config as configs
from iclgd.data.prompts import select_demonstrations
from iclgd.experiments import text
from iclgd.models.model_files import EMBEDDED_FOLDER
from iclgd.runs.run import load_run
from iclgd.terminal import say

LARGEST_DISTANCE = 1e-3  # between scores in single precision, summed in another order


class Compared(NamedTuple):
    """A query in a setting.

    Args:
        place: draw, query and setting.
        choice: of the loop.
        recorded: of the run.
        distance: the largest one between scores.
        margin: between the loop's best two scores.
    """

    place: tuple[int, int, str]
    choice: str
    recorded: str
    distance: float
    margin: float

    @property
    def agrees(self) -> bool:
        """Return whether scores are alike, and choices too, unless they hang on less than that."""
        return self.distance < LARGEST_DISTANCE and (self.choice == self.recorded or self.margin < self.distance)


class Plain:
    """A model and its tokenizer, asked one text at a time."""

    def __init__(self, folder: str, answers: Sequence[str]) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.answers = answers

    @torch.no_grad()
    def scores(self, prompt: str) -> list[float]:
        """Return the mean log-probability of each answer's tokens behind a prompt."""
        length, found = len(self.tokenizer(prompt).input_ids), []
        for answer in self.answers:
            ids = torch.tensor(self.tokenizer(f"{prompt} {answer}").input_ids)
            predicted = self.model(input_ids=ids[None]).logits[0, length - 1 : -1].log_softmax(-1)
            found.append(predicted.gather(1, ids[length:, None]).mean().item())
        return found

    def finetuned(self, texts: Sequence[str], learning_rate: float) -> "Plain":
        """Return the same with key and value projections after a step on each text."""
        plain = copy.copy(self)
        plain.model = copy.deepcopy(self.model)
        for each in texts:
            ids = torch.tensor([self.tokenizer(each).input_ids])
            plain.model.zero_grad()
            plain.model(input_ids=ids, labels=ids).loss.backward()
            with torch.no_grad():
                for name, parameter in plain.model.named_parameters():
                    if ".k_proj." in name or ".v_proj." in name:
                        parameter -= learning_rate * parameter.grad
                    if ".c_attn." in name:  # GPT-2's: queries, keys and values side by side
                        width = parameter.shape[-1] // 3
                        parameter[..., width:] -= learning_rate * parameter.grad[..., width:]
        return plain


def again(path: Path, num_queries: int | None = None) -> Iterator[Compared]:
    """Ask a run's queries again, and compare.

    Args:
        path: of the run directory.
        num_queries: the first ones alone; ``None`` for all.
    """
    config: Any = configs.load(path / "config.yaml")
    task, rows, queries = text.read_task(config.task)
    recorded = {
        (row["draw"], row["query"], row["setting"]): row for row in load_run(path).predictions if row["control"] is None
    }
    name, found = config.model.name, load_run(path).summary
    learning_rate = found.get("search/learning_rate", config.finetune.learning_rate)
    plain = Plain(str(EMBEDDED_FOLDER if name == "embedded" else name), task.answers)
    for draw in range(config.demonstrations.num_draws):
        drawn = select_demonstrations(rows, config.demonstrations.of_draw(draw), task.answers)
        shown = [f"{task.prompt(each)} {task.answers[each.label]}" for each in drawn]
        context = "".join(f"{each}{config.demonstrations.separator}" for each in shown)
        settings = {
            "zero_shot": (plain, ""),
            "in_context": (plain, context),
            "finetuned": (plain.finetuned(shown, learning_rate), ""),
        }
        for index, query in enumerate(queries[:num_queries]):
            for setting, (asked, before) in settings.items():
                scores = dict(zip(task.answers, asked.scores(before + task.prompt(query)), strict=True))
                row = recorded[draw, index, setting]
                best = sorted(scores, key=lambda answer: -scores[answer])
                distance = max(abs(scores[answer] - row["scores"][answer]) for answer in scores)
                margin = scores[best[0]] - scores[best[1]]
                yield Compared((draw, index, setting), best[0], row["choice"], distance, margin)


def main() -> None:
    """Compare a run, and say how far apart the two are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--queries", type=int, help="the first ones alone")
    arguments = parser.parse_args()
    found = list(again(arguments.run, arguments.queries))
    for each in found:
        if not each.agrees:
            say(f"differs: {each}")
    same = sum(each.choice == each.recorded for each in found)
    say(f"{same} of {len(found)} choices are the same; scores differ by at most {max(x.distance for x in found):.2g}")


if __name__ == "__main__":
    main()

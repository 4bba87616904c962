"""Every two choices of a text comparison run together, or are refused before anything starts."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from iclgd.analysis.finetune import METHODS
from iclgd.data.prompts import OVERFLOWS, SELECTIONS, START_TOKENS
from iclgd.modules.similarities import RANDOM_UPDATES
from iclgd.runtime.trainer import PRECISIONS
from tests.experiments.combinations import Row, pairwise
from tests.language_models import save, tiny_model, tiny_tokenizer, write_task
from tests.test_experiment import Cli, run_directory

FAMILIES = ("gpt2", "llama", "mistral", "gpt_neo", "xglm")  # every way to attention, with and without a window
VALUES: dict[str, list[str]] = {
    "trainer.precision": list(PRECISIONS),
    "finetune.method": list(METHODS),
    "model.name": list(FAMILIES),
    "model.untrained": ["false", "true"],
    "demonstrations.selection": list(SELECTIONS),
    "demonstrations.overflow": list(OVERFLOWS),
    "demonstrations.start_token": list(START_TOKENS),
    "demonstrations.separator": ["'\\n'", "eos"],
    "demonstrations.permutation": ["0", "1"],
    "evaluation.controls": ["[]", "[untrained, shuffled_labels]"],
    "evaluation.random_updates": list(RANDOM_UPDATES),
    "evaluation.num_replicates": ["20", "0"],
}
IN_DOUBLE_NOT = "xglm"  # transformers' own attention of it fails in double precision


def rows() -> list[Row]:
    """Return rows in which every two values meet."""
    found, impossible = pairwise(VALUES, lambda row: True)
    assert not impossible
    return found


def first_of_each_precision() -> list[Row]:
    return list({row["trainer.precision"]: row for row in reversed(rows())}.values())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for family in FAMILIES:
        save(tmp_path / family, tiny_model(family), tiny_tokenizer())
    task = write_task(tmp_path)
    (tmp_path / "tiny.yaml").write_text(
        f"experiment: text\ntask: {{name: {task}, num_queries: 6}}\ndemonstrations: {{num: 4}}\n"
        "finetune: {learning_rate: 0.1}\ntrainer: {accelerator: cpu}\ntracking: {mode: disabled}\n"
    )
    return tmp_path


@pytest.mark.parametrize("choose", [first_of_each_precision, pytest.param(rows, marks=pytest.mark.slow)])
def test_every_two_choices_run_together_or_are_refused(cli: Cli, folder: Path, choose: Callable[[], list[Row]]) -> None:
    for row in choose():
        texts = [f"{key}={folder / value if key == 'model.name' else value}" for key, value in row.items()]
        code, out, err = cli("run", folder / "tiny.yaml", *texts)
        if row["model.name"] == IN_DOUBLE_NOT and row["trainer.precision"] == "64-true":
            assert (code, out, err.count("\n")) == (2, "", 1), err
            continue
        assert code == 0, (texts, err)
        directory = run_directory(out)
        summary = directory.read_summary()
        assert summary is not None
        undefined = {name for name, value in summary.items() if not math.isfinite(value)}
        assert all("rec2ftp" in name for name in undefined), (texts, undefined)
        assert {path.stem for path in directory.figures.iterdir()} == {
            "similarity",
            "attention_to_demonstrations",
            "accuracy",
        }

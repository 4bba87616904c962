"""A text run's answers are those of a plain loop over whole prompts, query by query, draw by draw."""

from collections.abc import Callable
from pathlib import Path

from tests.plain_loop import again

Cli = Callable[..., tuple[int, str, str]]


def test_answers_are_those_of_a_plain_loop(cli: Cli, quick_images: None) -> None:
    code, out, err = cli(
        *("run", "embedded", "tracking.mode=disabled", "task.num_queries=24", "finetune.learning_rate=search"),
        *("demonstrations.num=5", "demonstrations.num_draws=2", "demonstrations.seed=3"),
        *("finetune.search.learning_rates=[0.01,0.03]", "finetune.search.num_rows=8"),
        *("evaluation.controls=[]", "evaluation.other_task=null"),
    )
    assert code == 0, err
    found = list(again(Path(out.splitlines()[-1])))
    assert len(found) == 2 * 24 * 3
    assert [each for each in found if not each.agrees] == []
    assert max(each.distance for each in found) < 1e-4

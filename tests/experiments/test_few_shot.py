"""The accuracy against the number of demonstrations, beside whole prompts and on two processes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from iclgd import config as configs
from iclgd.data.prompts import select_demonstrations
from iclgd.experiments.text import read_task
from iclgd.metrics import crossed_share_interval, wilson_interval
from iclgd.runs.run import load_run
from iclgd.tracking.run_directory import RunDirectory
from tests.forked import Forked
from tests.language_models import save, task_rows, tiny_model, tiny_tokenizer, write_task
from tests.plain_loop import Plain
from tests.processes import free_address

Cli = Callable[..., tuple[int, str, str]]
SETTINGS = {"zero_shot": 0, "1_demonstrations": 1, "3_demonstrations": 3}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few_shot")
    save(folder / "llama", tiny_model("llama"), tiny_tokenizer())
    path = folder / "small.yaml"
    path.write_text(
        f"experiment: few_shot\nmodel: {{name: {folder / 'llama'}}}\n"
        f"task: {{name: {write_task(folder)}, num_queries: 11}}\ndemonstrations: {{num: 4, num_draws: 2, seed: 5}}\n"
        "evaluation: {numbers: [3, 1, 16], batch_size: 4}\ntrainer: {accelerator: cpu}\ntracking: {mode: disabled}\n"
    )
    return path


def ran(cli: Cli, *arguments: object) -> Path:
    code, out, err = cli("run", *arguments)
    assert (code, err) == (0, "")
    return Path(out.splitlines()[-1])


def test_answers_are_those_of_whole_prompts(cli: Cli, config: Path) -> None:
    path = ran(cli, config)
    loaded: Any = configs.load(config)
    task, rows, queries = read_task(loaded.task)
    plain = Plain(loaded.model.name, task.answers)
    found = {(row["draw"], row["setting"], row["query"]): row for row in load_run(path).predictions}
    assert found.keys() == {(draw, name, query) for draw in range(2) for name in SETTINGS for query in range(11)}
    right = torch.zeros(2, 3, 11)
    for draw in range(2):
        drawn = select_demonstrations(rows, loaded.demonstrations.of_draw(draw), task.answers)
        shown = [f"{task.prompt(each)} {task.answers[each.label]}\n" for each in drawn]
        for place, (name, number) in enumerate(SETTINGS.items()):
            for query, example in enumerate(queries):
                scores = plain.scores("".join(shown[:number]) + task.prompt(example))
                row = found[draw, name, query]
                assert list(row["scores"].values()) == pytest.approx(scores, abs=1e-5)
                assert row["choice"] == max(row["scores"], key=row["scores"].get)
                right[draw, place, query] = scores.index(max(scores)) == example.label
    check_summary(load_run(path).summary, right)
    assert [each.name for each in RunDirectory(path).figures.iterdir()] == ["accuracy_by_demonstrations.png"]


def check_summary(summary: dict[str, float], right: torch.Tensor) -> None:
    for place, number in enumerate(SETTINGS.values()):
        name = f"accuracy/{number}_demonstrations"
        ends = [summary[f"{name}{end}"] for end in ("", "_low", "_high")]
        expected = crossed_share_interval(right[:, place], torch.ones(2, 11))
        assert ends == pytest.approx(expected.tolist())
        for draw in range(2):
            share = right[draw, place].double().mean()
            own = [summary[f"draw_{draw:02d}/{name}{end}"] for end in ("", "_low", "_high")]
            assert own == pytest.approx([share.item(), *wilson_interval(share, torch.tensor(11)).tolist()])


def test_two_processes_give_the_numbers_of_one(cli: Cli, config: Path, tmp_path: Path) -> None:
    expected = load_run(ran(cli, config, "evaluation.batch_size=64", "demonstrations.num_draws=1"))
    command = ["run", config, "demonstrations.num_draws=1", "trainer.devices=2"]
    address = free_address()
    results = [each.result() for each in [Forked(*command, LOCAL_RANK=str(rank), **address) for rank in range(2)]]
    assert [code for code, _, _ in results] == [0, 0], results
    found = load_run(Path(results[0][1].splitlines()[-1]))
    steady = {name for name in expected.summary if name.startswith("accuracy/")}
    assert len(steady) == 9
    assert {name: found.summary[name] for name in steady} == pytest.approx({n: expected.summary[n] for n in steady})
    for one, other in zip(found.predictions, expected.predictions, strict=True):
        assert one.pop("scores") == pytest.approx(other.pop("scores"), abs=1e-5)
        assert json.dumps(one) == json.dumps(other)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluation.numbers=[0,1]", "evaluation.numbers must be different numbers from 1 on, got [0, 1]"),
        ("evaluation.numbers=[2,2]", "evaluation.numbers must be different numbers from 1 on, got [2, 2]"),
        ("evaluation.numbers=[]", "evaluation.numbers must be different numbers from 1 on, got []"),
        ("evaluation.numbers=[8]", "evaluation.numbers [8] are all more than demonstrations.num, 4"),
        ("evaluation.batch_size=0", "evaluation.batch_size must be at least 1, got 0"),
        ("task.num_queries=0", "task.num_queries must be at least 1, got 0"),
    ],
)
def test_mistakes_are_one_line(cli: Cli, config: Path, override: str, message: str) -> None:
    code, _, err = cli("run", config, override)
    assert (code, err.strip()) == (2, f"iclgd: {message}")


def test_overlong_queries_are_left_out_and_counted(cli: Cli, config: Path, tmp_path: Path) -> None:
    rows = [*task_rows(8), {"text": "rain " * 300, "label": 0}]
    task = write_task(tmp_path, "long", validation=rows)
    code, _, err = cli("run", config, f"task.name={task}", "task.num_queries=null")
    assert code == 2
    assert "set task.overlong=drop" in err
    code, out, err = cli("run", config, f"task.name={task}", "task.num_queries=null", "task.overlong=drop")
    assert code == 0, err
    assert "note: task.overlong=drop: 1 of 9 queries are left out" in err
    run = load_run(Path(out.splitlines()[-1]))
    assert run.summary["overlong_queries"] == 1
    assert {row["query"] for row in run.predictions} == set(range(8))


def test_other_orders_are_refused(cli: Cli, config: Path) -> None:
    code, out, err = cli("run", config, "demonstrations.num_orders=2")
    assert (code, out, err) == (2, "", "iclgd: demonstrations.num_orders must be 1 with experiment=few_shot, got 2\n")

"""Exported records: the published scripts' formulas, restated here in numpy, give the run's own summary."""

import contextlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau

from iclgd import config as configs
from iclgd.analysis.finetune import Finetuned, make_loss
from iclgd.analysis.observe import observe
from iclgd.data.text_datamodule import QueryBatch
from iclgd.experiments import text
from iclgd.export.lmops import SETTINGS, arrange_context, context_columns, write_records
from tests.language_models import save, task_rows, tiny_model, tiny_tokenizer, write_task

pytestmark = pytest.mark.usefixtures("quick_images")
Cli = Callable[..., tuple[int, str, str]]
Records = dict[str, list[dict[str, Any]]]
NUM_QUERIES, NUM_DEMONSTRATIONS = 12, 6
LEARNING_RATE = 0.05  # changes some answers
CASES = {
    "as_published": ("gpt2", True, "eos"),
    "no_start_token": ("qwen2", False, "\n"),
    "long_separator": ("llama", True, "~~~\n"),
    "no_start_token_and_no_separator": ("gpt2", False, ""),
    "at_the_first_answer": ("gpt2", True, "eos", "evaluation.place=first_answer"),
}


def text_run(folder: Path, cli: Cli, architecture: str, beginning: bool, separator: str, *changes: str) -> Path:
    """Run a tiny model on a tiny task; return the run's directory."""
    tokenizer = tiny_tokenizer(beginning)
    special = {} if beginning else {"bos_token_id": None}
    save(folder / "model", tiny_model(architecture, seed=4, **special), tokenizer)
    train = [{**row, "label": (index // 3) % 2} for index, row in enumerate(task_rows(30))]
    task = write_task(folder, train=train)
    config = folder / "tiny.yaml"
    keys = {
        "experiment": "text",
        "model": {"name": str(folder / "model")},
        "task": {"name": str(task), "num_queries": NUM_QUERIES},
        "demonstrations": {"num": NUM_DEMONSTRATIONS, "separator": separator},
        "finetune": {"learning_rate": LEARNING_RATE},
        "evaluation": {"batch_size": 5, "num_replicates": 20, "controls": []},
        "trainer": {"accelerator": "cpu"},
        "tracking": {"mode": "disabled"},
    }
    config.write_text(json.dumps(keys))  # JSON is YAML
    code, out, err = cli("run", config, *changes)
    assert code == 0, err
    return Path(out.splitlines()[-1])


def read(folder: Path) -> Records:
    return {
        setting: [json.loads(line) for line in (folder / setting / "record_info.jsonl").read_text().splitlines()]
        for setting in SETTINGS
    }


def cosine(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    return (first * second).sum(-1) / (np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1) + 1e-20)


def softmax(scores: NDArray[Any]) -> NDArray[Any]:
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def updates(records: Records) -> NDArray[Any]:
    zero_shot, in_context, finetuned = (
        (hidden := np.array([line["self_attn_out_hiddens"] for line in records[setting]]))
        / (np.linalg.norm(hidden, axis=-1, keepdims=True) + 1e-20)
        for setting in ("zs", "icl", "ftzs")
    )
    return cosine(in_context - zero_shot, finetuned - zero_shot)


def maps(records: Records, other: str) -> NDArray[Any]:
    return np.array(
        [
            cosine(np.array(first["attn_map"]), np.array(second["attn_map"])).mean(-1)
            for first, second in zip(records["icl"], records[other], strict=True)
        ]
    )


def kendalls(records: Records) -> tuple[NDArray[Any], NDArray[Any]]:
    """Of tokens and of demonstrations; which positions are kept is counted as the published script does."""
    queries = [np.array(line["attn_q"]) for line in records["ft"]]
    lengths = [layers.shape[1] - 1 for layers in queries]
    kept, position = [], 1
    for length in lengths:
        kept += range(position, position + length)
        position += length + 1
    in_context = np.array([line["attn_map_ctx"] for line in records["icl"]])
    assert in_context.shape[-1] == position, "the context has other positions than the script counts"
    own = np.concatenate([layers[:, 1:] for layers in queries], axis=1)
    test_queries = np.array([line["attn_q"] for line in records["ftzs"]])
    shares = softmax(in_context[..., kept]), softmax((own[None] * test_queries[:, :, None]).sum(-1))
    sums = (np.add.reduceat(each, np.cumsum([0, *lengths[:-1]]), axis=-1) for each in shares)
    return taus(*shares), taus(*sums)


def taus(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    pairs = [zip(*layers, strict=True) for layers in zip(first, second, strict=True)]
    return np.array([[kendalltau(*pair)[0] for pair in of_query] for of_query in pairs])


def published(records: Records) -> dict[str, float]:
    """Return the summary's numbers by the published formulas."""
    right = {
        setting: np.array([line["gold_label"] == line["pred_label"] for line in records[setting]])
        for setting in ("zs", "icl", "ftzs")
    }
    put_right = ~right["zs"] & right["ftzs"]
    numbers = {
        "accuracy/zero_shot": right["zs"].mean(),
        "accuracy/in_context": right["icl"].mean(),
        "accuracy/finetuned": right["ftzs"].mean(),
        "rec2ftp": 100 * (put_right & right["icl"]).sum() / put_right.sum() if put_right.any() else np.nan,
    }
    tokens, examples = kendalls(records)
    layers = {
        "sim_aou": updates(records),
        "sim_am": maps(records, "ftzs"),
        "sim_am_zero_shot": maps(records, "zs"),
        "kendall": tokens,
        "kendall_examples": examples,
    }
    for name, values in layers.items():
        numbers[name] = values.mean()
        numbers |= {f"{name}/layer_{layer:02d}": value for layer, value in enumerate(values.mean(0))}
    return numbers


@pytest.mark.parametrize("case", CASES)
def test_published_formulas_give_the_summary(case: str, tmp_path: Path, cli: Cli) -> None:
    directory = text_run(tmp_path, cli, *CASES[case])
    code, out, err = cli("export", directory, "--format", "lmops")
    assert (code, err) == (0, ""), err
    folder = directory / "export" / "lmops"
    assert out == f"{folder}\n"
    assert [path.name for path in folder.parent.iterdir()] == ["lmops"]
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*")) == [
        f"{setting}/record_info.jsonl" for setting in sorted(SETTINGS)
    ]
    summary = json.loads((directory / "summary.json").read_text())
    expected = published(read(folder))
    assert {name: summary[name] for name in expected} == pytest.approx(expected, abs=1e-5, nan_ok=True)
    if case == "as_published":  # else nothing would have been said about it
        assert np.isfinite(summary["rec2ftp"])


@pytest.mark.parametrize("case", CASES)
def test_records_have_the_published_layout(case: str, tmp_path: Path, cli: Cli) -> None:
    directory = text_run(tmp_path, cli, *CASES[case])
    output = tmp_path / "new" / "records"
    code, _, err = cli("export", directory, "--format", "lmops", "--output", output)
    assert code == 0, err
    records = read(output)
    config = configs.load(directory / "config.yaml")
    assert isinstance(config, text.Config)
    module = text.prepare(config).module
    model, prompts = module.comparisons[0].model, module.comparisons[0].prompts
    finetuned, loss = Finetuned(model), make_loss(model, config.finetune.method)
    steps = [finetuned.step(tokens, LEARNING_RATE, loss) for tokens in prompts.finetuning_examples]
    keys = {"self_attn_out_hiddens", "attn_map", "attn_map_ctx", "gold_label", "pred_label"}
    num_positions = 1 + sum(len(demonstration) + 1 for demonstration in prompts.demonstrations)

    assert [len(records[setting]) for setting in SETTINGS] == [NUM_QUERIES] * 3 + [NUM_DEMONSTRATIONS]
    for index, (query, label) in enumerate(zip(prompts.queries, prompts.labels, strict=True)):
        for setting, with_weights, length in (
            ("zs", contextlib.nullcontext(), 1),
            ("ftzs", finetuned.applied(), 1),
            ("icl", contextlib.nullcontext(), num_positions),
        ):
            line = records[setting][index]
            assert set(line) == keys | ({"attn_q"} if setting == "ftzs" else set()), setting
            assert (line["gold_label"], type(line["pred_label"])) == (label, int)
            looked_at = query + prompts.answers[0] if case == "at_the_first_answer" else query
            assert np.shape(line["attn_map"]) == (model.num_layers, model.num_heads, len(looked_at))
            # As one sequence, whose first token is the start token if there is one.
            before = prompts.context if setting == "icl" else prompts.start
            with with_weights:
                seen = observe(model, single(before + looked_at, label), prompts.answers)
            scores = seen.scores[0, ..., : len(before)].sum(1).numpy()
            if setting == "icl":
                scores = by_hand(scores, prompts)
            elif not prompts.start:
                scores = np.zeros((model.num_layers, 1))
            assert scores.shape == (model.num_layers, length)
            assert np.array(line["attn_map_ctx"]) == pytest.approx(scores, abs=1e-4), setting
            assert np.array(line["attn_map"]) == pytest.approx(seen.scores[0, ..., len(before) :].numpy(), abs=1e-4)
            assert np.array(line["self_attn_out_hiddens"]) == pytest.approx(seen.outputs[0].numpy(), abs=1e-4)
            if setting == "ftzs":
                assert np.array(line["attn_q"]) == pytest.approx(seen.queries[0].numpy(), abs=1e-4)
    for line, step, demonstration in zip(records["ft"], steps, prompts.demonstrations, strict=True):
        queries = torch.stack(step).numpy()
        start = queries[:, :1] if prompts.start else np.zeros_like(queries[:, :1])
        assert set(line) == {"attn_q"}
        assert np.shape(line["attn_q"])[:2] == (model.num_layers, 1 + len(demonstration))
        own = queries[:, len(prompts.start) :]
        assert np.array(line["attn_q"]) == pytest.approx(np.concatenate([start, own], axis=1), abs=1e-4)


def single(tokens: Sequence[int], label: int) -> QueryBatch:
    return QueryBatch(torch.tensor([0]), torch.tensor([tokens]), torch.tensor([len(tokens)]), torch.tensor([label]))


def by_hand(scores: NDArray[Any], prompts: Any) -> NDArray[Any]:
    nothing = np.zeros((len(scores), 1))
    parts = [scores[:, :1] if prompts.start else nothing]
    for start, stop in prompts.demonstration_spans:
        parts += [scores[:, start:stop], scores[:, stop : stop + 1] if prompts.separator else nothing]
    return np.concatenate(parts, axis=1)


def test_windows_are_in_the_records(tmp_path: Path, cli: Cli) -> None:
    directory = text_run(tmp_path, cli, "mistral", True, "\n")
    code, _, err = cli("export", directory, "--format", "lmops")
    assert (code, err) == (0, "")
    records, summary = read(directory / "export" / "lmops"), json.loads((directory / "summary.json").read_text())
    for name, values in (("sim_am", maps(records, "ftzs")), ("sim_am_zero_shot", maps(records, "zs"))):
        assert values.mean() == pytest.approx(summary[name], abs=1e-5)
    scores = np.array([line["attn_map_ctx"] for line in records["icl"]])
    shares = softmax(scores)
    is_hidden = scores < -1e30
    assert is_hidden[..., 0].all()  # the start token is beyond every window
    assert not is_hidden[..., -1].all()
    assert not shares[is_hidden & ~is_hidden.all(-1, keepdims=True)].any()
    assert json.dumps(records["icl"]).count("Infinity") == 0  # which is not JSON


def test_controls_and_several_processes_are_left_out(tmp_path: Path, cli: Cli) -> None:
    directory = text_run(tmp_path, cli, *CASES["as_published"], "evaluation.controls=[untrained,shuffled_labels]")
    config = directory / "config.yaml"
    config.write_text(config.read_text().replace("devices: 1", "devices: 3"))
    code, _, err = cli("export", directory, "--format", "lmops")
    assert (code, err) == (0, "")
    assert len(read(directory / "export" / "lmops")["icl"]) == NUM_QUERIES


def test_says_that_the_data_has_changed(tmp_path: Path, cli: Cli) -> None:
    directory = text_run(tmp_path, cli, *CASES["as_published"])
    rows = tmp_path / "weather-data" / "validation.jsonl"
    rows.write_text(rows.read_text().replace("sun", "wind"))
    code, _, err = cli("export", directory, "--format", "lmops")
    assert (code, err.count("\n"), err[:9]) == (0, 1, "warning: ")
    assert "differ from summary.json" in err


def test_refuses_what_it_cannot_export(tmp_path: Path, cli: Cli, small_config: Path) -> None:
    directory = text_run(tmp_path, cli, *CASES["as_published"])
    taken = tmp_path / "taken"
    taken.mkdir()
    unfinished, regression, no_model = (tmp_path / name for name in ("unfinished", "regression", "no_model"))
    shutil.copytree(directory, unfinished)
    (unfinished / "summary.json").unlink()
    regression.mkdir()
    (regression / "config.yaml").write_text(cli("show-config", small_config)[1])
    shutil.copytree(directory, no_model)
    (no_model / "config.yaml").write_text(
        (directory / "config.yaml").read_text().replace(str(tmp_path / "model"), str(tmp_path / "gone"))
    )
    for run, options, expected in (
        (directory, ["--output", taken], f"{taken}: exists already"),
        (unfinished, [], "the run is not complete; continue it with: iclgd resume"),
        (regression, [], "not a text run, but experiment: regression"),
        (no_model, [], "gone"),
        (tmp_path, [], "not a run directory"),
    ):
        code, out, err = cli("export", run, "--format", "lmops", *options)
        assert (code, out) == (2, ""), err
        assert expected in err
        assert err.count("\n") == 1, err
        assert not (run / "export").exists()
    code, _, err = cli("export", directory, "--format", "numpy")
    assert code == 2
    assert "invalid choice: 'numpy'" in err


def test_nothing_is_left_of_records_that_were_interrupted(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), write_records(tmp_path / "parent" / "records") as files:  # noqa: PT012
        files.write("zs", 0, {"gold_label": 1})
        raise KeyboardInterrupt
    assert list((tmp_path / "parent").iterdir()) == []


def test_numbers_keep_their_precision_and_lines_get_their_order(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    numbers = generator.standard_normal((3, 50)) * 10.0 ** generator.integers(-30, 30, (3, 50))
    odd = np.array([np.nan, np.inf, -np.inf, -0.0, 1.0], dtype=np.float32)
    with write_records(tmp_path / "records") as files:
        files.write("icl", 7, {"double": numbers, "gold_label": 2})
        files.write("icl", 3, {"single": numbers.astype(np.float32), "odd": odd})
    first, second = read(tmp_path / "records")["icl"]
    assert np.array_equal(np.array(first["single"], dtype=np.float32), numbers.astype(np.float32))
    assert np.array_equal(np.array(first["odd"], dtype=np.float32), odd, equal_nan=True)
    assert np.array_equal(np.array(second["double"]), numbers)
    assert second["gold_label"] == 2


@pytest.mark.parametrize(
    ("around", "expected"),
    [((1, 1), [0, 1, 2, 3, 4, 5]), ((1, 3), [0, 1, 2, 3, 6, 7]), ((0, 1), [-1, 0, 1, 2, 3, 4])],
)
def test_context_columns(around: tuple[int, int], expected: list[int]) -> None:
    columns = context_columns([2, 1], *around)
    assert columns == expected
    arranged = arrange_context(np.arange(100.0, 110.0)[None], columns)
    assert arranged.tolist() == [[100.0 + column if column >= 0 else 0.0 for column in expected]]

"""Every command and every config key that the documentation shows is one that exists; nothing is run."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

import pytest

from iclgd import config as configs
from iclgd import own_entries
from iclgd.data.text import load_task
from iclgd.reproduce import paper
from tests.conftest import ROOT
from tests.docs.pages import PAGES, TUTORIALS, blocks, name_of, spans
from tests.docs.test_tutorials import must_be_elsewhere
from tests.test_experiment import Cli

PROGRAMS = ("iclgd", ".venv/bin/iclgd", "make", "srun", "torchrun")  # the last two start processes of ours
STANDS_FOR = {  # what pages write in capitals
    "S": "1",
    "RATE": "0.1",
    "METHOD": "layer_causal",
    "TASK": "embedded",
    "NAME": "one_layer",
    "CONFIG": "configs/regression/one_layer.yaml",
    "configs/regression/NAME.yaml": "configs/regression/two_layer.yaml",
    "configs/text/NAME.yaml": "configs/text/sst2.yaml",
    "SWEEP": "sweeps/smoke.yaml",
    "FILE": "sweeps/smoke.yaml",
    "PAPER": "vonoswald2023",
}
BASES = [  # configs that have, together, every group and every choice of one
    *(ROOT / "configs" / "regression" / name for name in ("one_layer.yaml", "sine.yaml")),
    *(ROOT / "configs" / path for path in ("text/embedded.yaml", "few_shot/few_shot.yaml")),
    *(ROOT / "configs" / "language_modeling").glob("*.yaml"),
    *(ROOT / "configs" / "functions").glob("*.yaml"),
    *(ROOT / "configs" / "sequences" / f"{name}.yaml" for name in ("contracting_system_linear", "linear_system_mesa")),
    ROOT / "configs" / "sequences" / "nonlinear_system_softmax.yaml",
]
GROUPS = ("analysis", "demonstrations", "evaluation", "finetune", "model", "task", "tracking", "trainer", "training")
KEY = re.compile(rf"(?:{'|'.join(GROUPS)})(?:\.[a-z_]+)+")


def commands(page: Path) -> Iterator[tuple[str, ...]]:
    """Yield the commands of a page as lists of words, with a value for each word that stands for one."""
    lines = [line for block in blocks(page) for line in block.replace("\\\n", "").splitlines()]
    for text in [*lines, *spans(page)]:
        if text.startswith(tuple(f"{program} " for program in PROGRAMS)):
            words = shlex.split(text, comments=True)
            words = words[: words.index(">")] if ">" in words else words
            start = next(index for index, word in enumerate(words) if Path(word).name in ("iclgd", "make"))
            kept = [word for word in words[start:] if word not in ("...", "key=value")]
            meant = {**STANDS_FOR, "NAME": "text"} if kept[1:2] == ["bench"] else STANDS_FOR
            yield from product(*([_meant(choice, meant) for choice in word.split("|")] for word in kept))


def _meant(word: str, meant: Mapping[str, str]) -> str:
    name, equals, value = word.rpartition("=")
    return f"{name}{equals}{meant.get(value, value)}"


# Those of tutorials are run: test_tutorials.py.
ALL = {
    " ".join(command): command
    for page in PAGES
    for command in commands(page)
    if page not in TUTORIALS or must_be_elsewhere(command)
}


@pytest.mark.parametrize("command", [command for command in ALL.values() if command[0] == "make"], ids=" ".join)
def test_targets_of_make_and_their_variables_exist(command: tuple[str, ...]) -> None:
    done = subprocess.run(["make", "--dry-run", *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for word in command[1:]:
        name, is_variable, _ = word.partition("=")
        assert not is_variable or f"$({name})" in (ROOT / "Makefile").read_text(), word


@pytest.mark.parametrize("command", [command for command in ALL.values() if command[0] != "make"], ids=" ".join)
def test_commands_options_configs_and_keys_exist(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(ROOT)
    _, name, *rest = command
    is_action = name == "sweep" and bool(rest) and re.fullmatch("[a-z]+", rest[0]) is not None
    chosen = [name, rest.pop(0)] if is_action else [name]
    code, text, err = cli(*chosen, "--help")
    assert code == 0, err
    if name == "bench":
        text = (ROOT / "benchmarks" / f"{rest.pop(0)}.py").read_text()
    for option in (word.partition("=")[0] for word in rest if word.startswith("--")):
        assert re.search(rf"{option}\b", text), option
    if "--import" in rest:
        rest[rest.index("--import") + 1] = own_file(rest[rest.index("--import") + 1], tmp_path)
    given = [word for word in rest if "=" in word and not word.startswith("--")]
    if name in ("run", "show-config"):
        config = STANDS_FOR["CONFIG"] if rest[:1] in ([], ["RUN_DIR"]) else rest[0]
        code, _, err = cli("show-config", config, *given)
    elif name == "runs":
        code, _, err = cli(name, *rest, "--dir", ROOT / "tests" / "reference" / "runs")
    elif chosen == ["sweep"] and rest and "--resume" not in rest:
        code, _, err = cli("sweep", *rest, "--dry-run", *([] if "--engine" in rest else ["--engine", "local"]))
    else:
        assert all(any(_has(base, *word.split("=", 1)) for base in BASES) for word in given), given
    assert code == 0, err


def own_file(name: str, folder: Path) -> str:
    """Write a file of own entries as a page shows it and let it add them, for one test; return its path."""
    (text,) = (text for page in PAGES for text in blocks(page, "python") if text.startswith(f'"""{name}: '))
    path = folder / name
    path.write_text(text)
    own_entries.load([path])
    return str(path)


def keys(page: Path) -> Iterator[tuple[str, str | None]]:
    """Yield the config keys that a page names, with their values where it gives one."""
    for span in spans(page):
        for word in [span] if span.count("=") == 1 else span.split():
            key, equals, value = word.strip("'").partition("=")
            if KEY.fullmatch(key):
                yield from ((key, STANDS_FOR.get(each, each) if equals else None) for each in value.split("|"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_config_keys_and_the_types_of_their_values_exist(page: Path) -> None:
    for key, value in keys(page):
        assert any(_has(base, key, value) for base in BASES), (key, value)


def _has(base: Path, key: str, value: str | None) -> bool:
    if value is None:
        return configs.typed(base, {}).kind_of(key) is not None
    try:
        configs.typed(base, {"documentation": [f"{key}={value}"]})
    except configs.ConfigError:
        return False
    return True


def test_what_does_not_exist_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```\niclgd run CONFIG model.depth=2  # deep\n```\n`iclgd sweep FILE` `model.num_layers=two` `model.x`\n"
    )
    found = [("iclgd", "run", STANDS_FOR["CONFIG"], "model.depth=2"), ("iclgd", "sweep", STANDS_FOR["FILE"])]
    assert list(commands(page)) == found
    assert list(keys(page)) == [("model.num_layers", "two"), ("model.x", None)]
    assert not any(_has(base, *named) for base in BASES for named in keys(page))


def test_examples_of_files_are_valid(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    path = tmp_path / "example.yaml"
    for plan in ("full", "quick"):  # of the paper
        (tmp_path / plan).mkdir()
        shutil.copy(ROOT / "sweeps" / "smoke.yaml", tmp_path / plan / "layers.yaml")
    kinds = []
    for text in (text for page in PAGES for text in blocks(page, "yaml")):
        path.write_text(text)
        kinds.append("sweep" if "parameters:" in text else "paper" if "figures:" in text else "task")
        if kinds[-1] == "sweep":
            code, _, err = cli("sweep", path, "--engine", "local", "--dry-run")
            assert code == 0, err
        elif kinds[-1] == "paper":
            assert paper.read(path).figures
        else:
            task = load_task(str(path))
            assert task.answers or task.choices
    assert set(kinds) == {"sweep", "task", "paper"}

"""Whatever is typed, or stands in a file: exit code 0, or 2 and one line that is safe to print; nothing else.

Inputs are drawn by hypothesis, the same every time: real files and overrides with mistakes of all kinds in them.
"""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from iclgd import config as configs
from iclgd.cli import main
from iclgd.data.text import TASKS_FOLDER, load_examples, load_task
from iclgd.sweeps.file import schema
from iclgd.sweeps.file.parameter import Choices
from tests.conftest import ROOT

CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
SWEEPS = sorted((ROOT / "sweeps").glob("*.yaml"))
TASKS = sorted(TASKS_FOLDER.glob("*.yaml"))
NASTY_VALUES = [
    *("", "null", "~", "yes", "No", "true", "7", "-1", "0", "1e3", "1.5", ".inf", "-.inf", ".nan", "1e-300", "1e300"),
    *("007", "0x10", "0b_", "1_000", "1:30", "2024-01-01", "2020-13-45", "9" * 30, "9" * 5000, "-" + "9" * 19),
    *("[]", "{}", "[a]", "[null]", "[[1]]", "{a: 1}", "{name: sine}", "{1: 2}", "{? [a] : b}", "[a, a]", "[", "{", "]"),
    *("!!int x", "!!python/name:os.system ''", "!!binary aGk=", "!!set {a}", "!!omap [a: 1]", "!!timestamp x", "!x y"),
    *("&a [*a]", "&a {b: *a}", "*a", "&a", "<<", "=", "'", '"', '"\\ud83d"', '"\\U99999999"', '"\\x1b[2J"', "'\x1b'"),
    *("${seed}", "${oc.env:HOME}", "${oc.env:NOWHERE}", "${", "a${b}c", "???", "|", ">", "%", "@"),
    *("`", "#", "- a", ": ", "\udcff", "\0", "\x07", "\n", "\u2028", "é" * 50, "x" * 100_000),
    *("../..", "a: b: c", "[" * 400 + "]" * 400),
]  # fmt: skip
NASTY_LINES = [
    *("seed: 1\nseed: 2", "seed: &s 1\n? *s\n: 2", "? [a]\n: b", "null: 1", "2024-01-01: 1", "<<: [1]"),
    *("<<: {seed: 1}", "---", "...", "%YAML 9.9", "%TAG ! x", "\t", "- a", "? ", "a", "<<: &m {seed: *m}"),
    *("experiment: ${experiment}", "task: [sine]", "task: {name: [sine]}", "model: [null]", "trainer: null"),
    "a0: &a0 [x]\n" + "".join(f"a{i + 1}: &a{i + 1} [{','.join([f'*a{i}'] * 10)}]\n" for i in range(9)),  # a bomb
]  # fmt: skip
KEYS = [
    *("seed", "experiment", "task", "task.name", "task.input_range", "task.num_context", "task.covariance", "model"),
    *("model.name", "model.revision", "model.recurrent", "model.num_layers", "model.key_size", "training.batch_size"),
    *("training.learning_rate", "training.num_seeds", "evaluation.num_tasks", "evaluation.controls", "analysis.run"),
    *("analysis.shifts", "demonstrations.separator", "demonstrations.num", "finetune.learning_rate"),
    *("trainer.devices", "trainer.strategy"),
    *("trainer.max_steps", "trainer.precision", "tracking.tags", "tracking.group", "seed.x"),
    *("sed", "a b", "", ".", "é"),
]  # fmt: skip

anything = st.one_of(
    st.sampled_from(NASTY_VALUES),
    st.text(st.characters(codec=None), max_size=20),
    st.integers().map(str),
    st.floats().map(str),
)
override = st.one_of(
    st.builds("{}={}".format, st.sampled_from(KEYS), anything),
    st.builds("tracking.group={}".format, anything),
    st.builds("seed={}".format, st.integers(-1, 2**63)),
    st.builds("trainer.precision={}".format, st.sampled_from(["64-true", "bf16-mixed", "8"])),
    anything,
)


@st.composite
def mutated(draw: st.DrawFn, paths: list[Path]) -> bytes:
    """Return the content of one of the files with up to three mistakes in it."""
    content = draw(st.sampled_from(paths)).read_bytes()
    for _ in range(draw(st.integers(1, 3))):
        lines = content.split(b"\n")
        number = draw(st.integers(0, len(lines) - 1))
        kind = draw(st.sampled_from(["value", "value", "value", "line", "bytes", "twice", "indent"]))
        if kind == "value":
            key = lines[number].partition(b":")[0]
            lines[number] = key + b": " + draw(anything).encode(errors="surrogatepass")
        elif kind == "line":
            lines.insert(number, draw(st.sampled_from(NASTY_LINES)).encode())
        elif kind == "bytes":
            place = draw(st.integers(0, len(lines[number])))
            lines[number] = lines[number][:place] + draw(st.binary(max_size=4)) + lines[number][place + 1 :]
        elif kind == "twice":
            lines.insert(number, lines[number])
        else:
            lines[number] = b"  " + lines[number]
        content = b"\n".join(lines)
    return content


def printed(*arguments: object) -> tuple[int, str]:
    """Run a command that must answer as is promised; return its exit code and standard output."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(str(end.code))
    assert code in (0, 2)
    assert all(line.isprintable() for line in out.getvalue().split("\n"))
    if code == 2:
        line, end = err.getvalue()[:-1], err.getvalue()[-1:]
        assert line.startswith("iclgd: ")
        assert line.isprintable()
        assert len(line) < 2200
        assert (end, out.getvalue()) == ("\n", "")
    return code, out.getvalue()


def a_config(folder: Path, content: bytes, overrides: list[str]) -> None:
    """What is accepted must be the same again when it is read from what is printed."""
    path = folder / "config.yaml"
    path.write_bytes(content)
    code, out = printed("show-config", path, *overrides)
    if code == 0:
        config = configs.load(path, overrides, may_lack=True)
        path.write_text(out)
        assert configs.load(path, may_lack=True) == config


def a_sweep(folder: Path, content: bytes) -> None:
    path = folder / "sweep.yaml"
    path.write_bytes(content)
    printed("sweep", path, "--dry-run", "--engine", "local", "--count", 2)


def a_task(folder: Path, content: bytes) -> None:
    path = folder / "task.yaml"
    path.write_bytes(content)
    with contextlib.suppress(configs.InputError):
        task = load_task(str(path))
        assert load_task(str(path)) == task


def rows(folder: Path, content: bytes) -> None:
    (folder / "validation.jsonl").write_bytes(content)
    with contextlib.suppress(configs.InputError):
        load_examples(load_task("embedded_two"), "validation", str(folder))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["text", "label", "x"]), inner),
    max_leaves=4,
)
row = st.one_of(
    st.builds(lambda text, label: json.dumps({"text": text, "label": label}).encode(), json_values, json_values),
    st.sampled_from([b'{"text": "nice \\ud83d film", "label": 0}', b"{", b"[]", b"\xff", b"NaN", b"[" * 5000]),
    st.just(b'{"text": "a", "label": ' + b"1" * 5000 + b"}"),
    st.binary(max_size=12),
)  # fmt: skip
PROPERTIES: dict[str, tuple[Callable[..., None], list[st.SearchStrategy[Any]], int]] = {
    "configs": (a_config, [mutated(CONFIGS), st.just([])], 300),
    "overrides": (a_config, [st.sampled_from(CONFIGS).map(Path.read_bytes), st.lists(override, max_size=2)], 400),
    "sweeps": (a_sweep, [mutated(SWEEPS)], 120),
    "tasks": (a_task, [mutated(TASKS)], 150),
    "rows": (rows, [st.lists(row, max_size=4).map(b"\n".join)], 150),
}  # fmt: skip


def hold(name: str, folder: Path, factor: int) -> None:
    check, strategies, number = PROPERTIES[name]
    folder.mkdir()

    @settings(
        max_examples=factor * number,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    @given(st.tuples(*strategies))
    def holds(inputs: tuple[Any, ...]) -> None:
        check(folder, *inputs)

    holds()
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("name", PROPERTIES)
def test_every_input_gets_its_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(ROOT)  # to which sweeps' configs are relative
    hold(name, tmp_path / "inputs", factor=1)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", PROPERTIES)
def test_ten_times_as_many_inputs_get_their_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(ROOT)
    hold(name, tmp_path / "inputs", factor=10)
    assert not (tmp_path / "runs").exists()


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12).filter(
    lambda text: "${" not in text
)


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(text=texts)
@example("4e05931")
@example("0012345")
@example("2024_01_05")
@example("null")
@example(" a #b: ")
@example("'")
def test_text_is_text_on_every_way(text: str) -> None:
    """As a value of a sweep, quoted in YAML, and as it is typed: unless that is a null, a quotation or a collection."""
    kind = configs.typed(CONFIGS[0], {}).kind_of("tracking.group")
    for typed in (Choices("a", "constant", (text,)).override(choice := Choices("a", "constant", (text,)).grid()[0]),):
        assert typed.startswith("a=")
        assert configs.read_text("a", kind, typed[2:]) == text
    assert choice
    node = yaml.compose(yaml.safe_dump(text, allow_unicode=True), yaml.SafeLoader)
    assert configs.read_node("a", kind, node) == text
    if text.strip()[:1] not in ("'", '"', "[", "{") and text not in ("", "~", "null", "Null", "NULL"):
        assert configs.read_text("a", kind, text) == text


def test_sweep_files_of_the_tests_are_read() -> None:
    """The properties would hold of inputs that are all refused: most files are fine before they are changed."""
    for path in SWEEPS:
        assert schema.read(path).parameters
    for path in TASKS:
        task = load_task(str(path))
        assert task.answers or task.choices

import math
import random
import string
from typing import Any

import pytest
from omegaconf import OmegaConf
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from iclgd.sweeps.file.parameter import Choices, to_text

VALUES = [
    1e-05, 1e16, 1e300, 5e-324, 0.1, -0.0, 1.0, 3, -3, 10**20, math.inf, -math.inf, None, True, False, "", " ", "a",
    "sine", "None", "null", "~", "yes", "On", "1", "1.0", "1e5", "1_000", "0x10", "10:20", "2020-01-01", "a b", "a: b",
    "a #b", "#", "'", '"', "\\", "a\\nb", "a\nb", "\t", "\x7f", "é", "日本", "\U0001f600", "@x", "*x", "&x", "!x",
    "- x", "=", "a=b", "[a]", "{a: 1}", ",", "a,b", "%", ".inf", ".nan", "nan", "inf", "/home/a-b/c.d", "org/name",
    [], [1e-05, "1e-05", None, True, "a, b", ["x"]], ["None", "True", "1"], {"a": 1, "b c": None, "d": {"e": "#"}},
]  # fmt: skip


def parsed(text: str) -> Any:
    container = OmegaConf.to_container(OmegaConf.from_dotlist([f"a.b={text}"]))
    assert isinstance(container, dict)
    return container["a"]["b"]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_texts_give_back_exactly_the_value(value: Any) -> None:
    assert repr(parsed(to_text(value))) == repr(value)
    assert "\n" not in to_text(value)


def test_texts_of_anything_give_it_back() -> None:
    generator = random.Random(0)
    for _ in range(500):
        characters = generator.choices(string.printable + "é日 \x00\x85\u2028\ufeff", k=generator.randrange(12))
        number = generator.uniform(-1, 1) * 10.0 ** generator.randint(-300, 300)
        for value in ("".join(characters), number, generator.getrandbits(80)):
            assert repr(parsed(to_text(value))) == repr(value)
            assert repr(parsed(to_text([value]))) == repr([value])
    assert math.isnan(parsed(to_text(math.nan)))


@pytest.mark.parametrize(
    "value", [1e-05, 0.001, 1.0, 1e16, 3, -3, True, False, "sine", "org/name", "a b", [1, 2], [0.1, 1e-05], ["a", "b"]]
)
def test_agents_of_wandb_write_usual_values_to_the_same_effect(value: Any) -> None:
    (written,) = create_sweep_command_args({"args": {"a.b": {"value": value}}})["args_no_hyphens"]
    ours = Choices("x", "constant", (value,)).override(to_text(value))
    assert OmegaConf.from_dotlist([written]).a.b == OmegaConf.from_dotlist([f"a.b={ours.partition('=')[2]}"]).a.b

"""Help on the keys of configs: all of it comes from the code that reads and checks them."""

import dataclasses
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from iclgd import checks
from iclgd import config as configs
from iclgd.config_help import groups
from iclgd.experiments import EXPERIMENTS
from iclgd.field_documentation import documentation_of, summary_of
from iclgd.models.attention import ATTENTIONS
from iclgd.shipped import names
from iclgd.typed_values import kinds_of

Cli = Callable[..., tuple[int, str, str]]


def config_classes() -> Iterator[type]:
    """Return the dataclasses of all configs, also those that a name chooses."""
    waiting: list[type] = []
    for entry in EXPERIMENTS.values():
        experiment = entry.load()
        waiting.append(experiment.config)
        for chosen in experiment.chosen_groups.values():
            waiting += chosen.choices.values()
    while waiting:
        kind = waiting.pop()
        yield kind
        waiting += [
            each for each in kinds_of(kind).values() if isinstance(each, type) and dataclasses.is_dataclass(each)
        ]


CLASSES = sorted(set(config_classes()), key=lambda kind: f"{kind.__module__}.{kind.__name__}")


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_field_says_what_it_is_in_a_sentence(kind: type) -> None:
    assert re.fullmatch(r"\S.*[.]", summary_of(kind))
    documentation = documentation_of(kind)
    for field in dataclasses.fields(kind):
        if not dataclasses.is_dataclass(kinds_of(kind)[field.name]):  # groups say it in their class
            assert re.fullmatch(r"[\[A-Z].*[^.][.]", documentation.get(field.name, "")), field.name


def test_all_groups_are_looked_at() -> None:
    assert len(CLASSES) >= 18
    assert {"TransformerConfig", "SineTask", "FinetuneConfig", "TrackingConfig"} <= {kind.__name__ for kind in CLASSES}


@dataclass
class _Base:
    size: int = 1
    """How large
    it is."""
    rate: float = 0.1
    """How fast."""
    other: int = 0  # says nothing


@dataclass
class _Derived(_Base):
    rate: float = 0.2
    size: int = 2
    """How small."""


def test_documentation_is_inherited_until_a_field_says_something_else() -> None:
    assert documentation_of(_Base) == {"size": "How large it is.", "rate": "How fast."}
    assert documentation_of(_Derived) == {"size": "How small.", "rate": "How fast."}


def test_a_class_without_source_has_no_documentation() -> None:
    assert documentation_of(dataclasses.make_dataclass("Made", [("size", int)])) == {}


@pytest.mark.parametrize("name", ["two_layer", "sine", "embedded", "embedded_model"])
def test_help_has_every_key_of_the_config_with_its_value(name: str) -> None:
    loaded = configs.load(names("config")[name])

    def leaves(values: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
        for key, value in values.items():
            yield from leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]

    shown = {key.name: key for group in groups(names("config")[name]) for key in group.keys}
    expected = dict(leaves(configs.to_dict(loaded)))
    assert set(shown) == set(expected)
    again = configs.load(names("config")[name], [f"{key}={each.value}" for key, each in shown.items()])
    assert again == loaded
    assert not [key for key in shown.values() if not key.sentence]


def test_choices_are_those_that_the_code_checks() -> None:
    keys = {key.name: key for group in groups(names("config")["debug"]) for key in group.keys}
    assert keys["model.attention"].choices == keys["model.first_attention"].choices == tuple(ATTENTIONS)
    assert keys["experiment"].choices == tuple(EXPERIMENTS)
    assert keys["task.name"].choices == ("linear", "sine")
    assert keys["seed"].choices == ()
    assert str(keys["model.num_layers"]) == "model.num_layers: a whole number, default 1"
    assert str(keys["trainer.max_steps"]) == "trainer.max_steps: a whole number, no default, here 1000"
    assert str(keys["model.tokens"]) == "model.tokens: text, default joint; one of: joint, separate"
    assert str(keys["tracking.tags"]) == "tracking.tags: a list, default []"
    assert str(keys["analysis.run"]).startswith("analysis.run: a list, default []; of: out_of_distribution, ")


def test_nothing_is_collected_but_within() -> None:
    with checks.collected_choices() as choices:
        pass
    configs.load(names("config")["debug"])
    assert choices == {}


def test_help_behind_a_config_is_about_the_config(cli: Cli) -> None:
    code, out, err = cli("run", "two_layer", "--help", "seed=3")
    assert (code, err) == (0, "")
    assert "\n  seed: a whole number, default 0, here 3\n      Seed of everything random.\n" in out
    assert "\n\nArchitecture and initial weights of a toy transformer.\n  model.num_layers: a whole number" in out
    assert cli("show-config", "two_layer", "seed=3", "-h")[1] == out
    assert "example: iclgd run" in cli("run", "--help")[1]
    code, out, err = cli("run", "two_layer", "--help", "model.num_layer=3")
    assert (code, out) == (2, "")
    assert "did you mean model.num_layers?" in err

import pytest
import yaml
from omegaconf import OmegaConf
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.file.space import parse_parameters


def test_nested_parameters_get_keys_with_dots() -> None:
    content = {"model": {"parameters": {"num_layers": {"values": [1]}, "mlp": {"value": True}}}, "seed": {"value": 1}}
    assert [each.key for each in parse_parameters(content, "grid")] == ["model.num_layers", "model.mlp", "seed"]


def test_agents_of_wandb_write_nested_parameters_to_the_same_effect() -> None:
    (written,) = create_sweep_command_args({"args": {"a": {"value": {"b": 1e-05, "c": {"d": True}}}}})[
        "args_no_hyphens"
    ]
    ours = parse_parameters(
        {"a": {"parameters": {"b": {"value": 1e-05}, "c": {"parameters": {"d": {"value": True}}}}}}, "grid"
    )
    overrides = [parameter.override(parameter.grid()[0]) for parameter in ours]
    assert OmegaConf.from_dotlist(["a.e=1", written]) == OmegaConf.from_dotlist(["a.e=1", *overrides])


BAD = [
    ("{}", "parameters: must have at least one"),
    ("[a]", "parameters: must be keys and their distributions"),
    ("{x: 3}", "parameters.x: must be settings such as {values: [1, 2]}, got 3"),
    ("{x: {}}", "parameters.x: must be settings"),
    ("{1: {value: 1}}", "parameters: 1 is not a key of the config"),
    ("{a-b: {value: 1}}", "parameters: 'a-b' is not a key of the config"),
    ("{a..b: {value: 1}}", "parameters: 'a..b' is not a key of the config"),
    ("{x: {values: []}}", "parameters.x.values: must be a list with at least one value, got []"),
    ("{x: {values: ten}}", "parameters.x.values: must be a list with at least one value, got 'ten'"),
    ("{x: {values: [1, 2, 1]}}", "parameters.x.values: 1 is there twice"),
    ("{x: {values: [2020-01-01]}}", "parameters.x.values: must be numbers, texts, "),
    ("{x: {values: &v [1, *v]}}", "parameters.x.values: must be numbers, texts, "),
    ("{x: {value: !!binary abc=}}", "parameters.x.value: must be numbers, texts, "),
    ("{x: {vales: [1]}}", "parameters.x: needs values, value, min and max, or a distribution; did you mean values?"),
    ("{x: {mu: 0, sigma: 1}}", "parameters.x: needs values, value, min and max, or a distribution"),
    ("{x: {min: 0, max: 1, q: 1}}", "parameters.x: needs values, value, min and max, or a distribution"),
    ("{x: {values: [1], min: 0}}", "parameters.x.min: unknown; categorical has: values"),
    ("{x: {min: 0, maxx: 1}}", "parameters.x.maxx: unknown; int_uniform has: min, max; did you mean max?"),
    ("{x: {min: 0}}", "parameters.x: int_uniform needs max"),
    ("{x: {distribution: normal, mu: 0}}", "parameters.x: normal has no grid; with method: grid choose one of: const"),
    ("{x: {values: [1], probabilities: [1]}}", "parameters.x: categorical_w_probabilities has no grid"),
    ("{x: {distribution: unifrom}}", "parameters.x.distribution: must be one of: constant, "),
    ("{x: {distribution: [1]}}", "parameters.x.distribution: must be one of: constant, "),
    ("{x: {distribution: beta}}", "parameters.x.distribution: beta is W&B's, but not supported here; must be one of"),
    ("{x: {min: 3, max: 3}}", "parameters.x: min must be below max, got 3 and 3"),
    ("{x: {min: true, max: 3}}", "parameters.x.min: must be a finite number, got True"),
    ("{x: {min: 0, max: 1000000000000000000000}}", "parameters.x.max: must be at most 2**53"),
    ("{x: {min: 0.5, max: 3, distribution: int_uniform}}", "parameters.x.min: must be a whole number with int_uniform"),
    ("{x: {distribution: q_uniform, min: 0, max: 1, q: 0}}", "parameters.x.q: must be above 0, got 0"),
    ("{x: {value: 1, parameters: {y: {value: 1}}}}", "parameters.x: nested parameters stand alone, without: value"),
    ("{x: {parameters: {}}, y: {value: 1}, x.z: 1}", "parameters.x.z: must be settings"),
    ("{x: {parameters: {y: {value: 1}}}, x.y: {value: 2}}", "parameters.x.y: given twice"),
    ("{x: {value: {y: 1}}, x.y: {value: 2}}", "parameters.x.y: given twice, nested or with dots (as parameters.x)"),
    ("&a {model: {parameters: *a}}", "parameters.model: contains itself"),
    ("{x: &a {parameters: *a}}", "parameters.x.parameters: contains itself"),
    ("{x: &a {parameters: {y: *a}}}", "parameters.x.y: contains itself"),
]


@pytest.mark.parametrize(("content", "message"), BAD)
def test_mistakes_are_named(content: str, message: str) -> None:
    with pytest.raises(SweepError) as error:
        parse_parameters(yaml.safe_load(content), "grid")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)

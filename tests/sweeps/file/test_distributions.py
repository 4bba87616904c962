import math
import statistics
from typing import Any

import optuna
import pytest
import yaml

from iclgd.sweeps.file.distributions import DISTRIBUTIONS, make_parameter
from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.file.parameter import Parameter

NUM_DRAWS = 4000


def one(settings: dict[str, Any], method: str = "random") -> Parameter:
    return make_parameter("x", settings, method)


def draws(settings: dict[str, Any]) -> list[Any]:
    parameter = one(settings)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    raws = [study.ask({"x": parameter.distribution}).params["x"] for _ in range(NUM_DRAWS)]
    return [parameter.value(raw) for raw in raws]


def log_uniform_moments(low: float, high: float) -> tuple[float, float]:
    width = math.log(high / low)
    mean = (high - low) / width
    return mean, (high**2 - low**2) / (2 * width) - mean**2


MOMENTS = [
    ({"min": 2, "max": 9}, 5.5, (8**2 - 1) / 12),
    ({"min": 0.5, "max": 2.0}, 1.25, 1.5**2 / 12),
    ({"distribution": "uniform", "min": 0, "max": 1}, 0.5, 1 / 12),
    ({"distribution": "q_uniform", "min": 0, "max": 10, "q": 2}, 5.0, (2 * 5**2 + 4 * (3**2 + 1)) / 10),
    ({"distribution": "log_uniform", "min": -2, "max": 1}, *log_uniform_moments(math.exp(-2), math.e)),
    ({"distribution": "log_uniform_values", "min": 0.01, "max": 1}, *log_uniform_moments(0.01, 1)),
    ({"distribution": "inv_log_uniform", "min": -1, "max": 2}, *log_uniform_moments(math.exp(-2), math.e)),
    ({"distribution": "inv_log_uniform_values", "min": 0.01, "max": 1}, *log_uniform_moments(0.01, 1)),
    ({"distribution": "normal"}, 0.0, 1.0),
    ({"distribution": "normal", "mu": 3, "sigma": 0.5}, 3.0, 0.25),
    ({"distribution": "q_normal", "mu": 3, "sigma": 2, "q": 0.5}, 3.0, 4 + 0.25 / 12),
    (
        {"distribution": "log_normal", "mu": 1, "sigma": 0.5},
        math.exp(1.125),
        (math.exp(0.25) - 1) * math.exp(2.25),
    ),
    (
        {"distribution": "q_log_normal", "mu": 1, "sigma": 0.5, "q": 0.1},
        math.exp(1.125),
        (math.exp(0.25) - 1) * math.exp(2.25),
    ),
    ({"values": [1, 2, 6]}, 3.0, 14 / 3),
    ({"values": [1, 2, 6], "probabilities": [0.5, 0.5, 0]}, 1.5, 0.25),
    ({"values": [1, 2, 6], "probabilities": [0.2, 0.3, 0.5]}, 3.8, 4.96),
    ({"value": 3}, 3.0, 0.0),
]


@pytest.mark.parametrize(("settings", "mean", "variance"), MOMENTS, ids=lambda each: str(each)[:60])
def test_draws_have_the_mean_and_variance_of_the_formula(
    settings: dict[str, Any], mean: float, variance: float
) -> None:
    values = draws(settings)
    error = math.sqrt(variance / NUM_DRAWS)
    assert statistics.fmean(values) == pytest.approx(mean, abs=4 * error + 1e-12)
    assert statistics.pvariance(values) == pytest.approx(variance, rel=0.15, abs=1e-12)


def test_log_uniform_draws_follow_the_distribution_function() -> None:
    for kind, bounds in (("log_uniform_values", (1e-5, 1e-1)), ("log_uniform", (math.log(1e-5), math.log(1e-1)))):
        values = sorted(draws({"distribution": kind, "min": bounds[0], "max": bounds[1]}))
        assert values[0] >= 1e-5 * (1 - 1e-9)
        assert values[-1] <= 1e-1 * (1 + 1e-9)
        for quantile in (0.25, 0.5, 0.75):
            assert math.log10(values[int(quantile * NUM_DRAWS)]) == pytest.approx(-5 + 4 * quantile, abs=0.15)


@pytest.mark.parametrize(
    ("settings", "support"),
    [
        ({"min": 2, "max": 5}, {2, 3, 4, 5}),
        ({"distribution": "q_uniform", "min": 0, "max": 10, "q": 3}, {0, 3, 6, 9}),
        ({"distribution": "q_uniform", "min": 0, "max": 11, "q": 3}, {0, 3, 6, 9, 12}),  # as W&B rounds
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25}, {0.0, 0.25, 0.5, 0.75, 1.0}),
        ({"distribution": "q_log_uniform", "min": 0, "max": 2, "q": 1}, set(range(1, 8))),
        ({"distribution": "q_log_uniform_values", "min": 1, "max": 4}, {1, 2, 3, 4}),
        ({"values": ["a", None, 1, True, 1.0, [1, "b"]]}, None),
    ],
)
def test_draws_cover_the_support(settings: dict[str, Any], support: set[Any] | None) -> None:
    values = draws(settings)
    if support is None:
        assert {repr(value) for value in values} == {repr(value) for value in settings["values"]}
    else:
        assert set(values) == support


def test_whole_multiples_are_whole_numbers() -> None:
    for quantum in (2, 2.0):
        values = draws({"distribution": "q_uniform", "min": 0.0, "max": 9.0, "q": quantum})
        assert {type(value) for value in values} == {int}
    assert {type(value) for value in draws({"distribution": "q_normal", "q": 0.5})} == {float}


def test_probabilities_are_those_of_the_file() -> None:
    values = draws({"values": ["rare", "usual", "never"], "probabilities": [0.1, 0.9, 0.0]})
    assert values.count("rare") / NUM_DRAWS == pytest.approx(0.1, abs=0.02)
    assert set(values) == {"rare", "usual"}


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_the_bounds_of_what_is_drawn_are_finite(kind: str) -> None:
    settings = {"min": 1, "max": 3, "mu": 1, "sigma": 2, "q": 1, "value": 1, "values": [1], "probabilities": [1]}
    parameter = one({"distribution": kind} | {name: settings[name] for name in DISTRIBUTIONS[kind]})
    assert parameter.kind == kind
    assert all(math.isfinite(parameter.value(raw)) for raw in parameter.examples())
    assert all(
        parameter.distribution._contains(parameter.distribution.to_internal_repr(r)) for r in parameter.examples()
    )


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"values": [1]}, "categorical"),
        ({"values": [1], "probabilities": [1]}, "categorical_w_probabilities"),
        ({"value": None}, "constant"),
        ({"min": 0, "max": 3}, "int_uniform"),
        ({"min": 0, "max": 3.0}, "uniform"),
        ({"min": 0.0, "max": 3}, "uniform"),
    ],
)
def test_the_distribution_is_inferred_as_by_wandb(settings: dict[str, Any], kind: str) -> None:
    assert one(settings).kind == kind


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        ({"values": [1, True, 1.0, "1", None, [1, 2], {"a": 1}]}, [1, True, 1.0, "1", None, [1, 2], {"a": 1}]),
        ({"value": "x"}, ["x"]),
        ({"min": -1, "max": 2}, [-1, 0, 1, 2]),
        ({"distribution": "q_uniform", "min": 1, "max": 7, "q": 2}, [1, 3, 5]),  # as W&B: without max
        ({"distribution": "q_uniform", "min": 0.5, "max": 3}, [0.5, 1.5, 2.5]),
        ({"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.25}, [0.0, 0.25, 0.5, 0.75]),
    ],
)
def test_grids(settings: dict[str, Any], values: list[Any]) -> None:
    parameter = one(settings, "grid")
    raws = parameter.grid()
    assert repr([parameter.value(raw) for raw in raws]) == repr(values)
    for raw in raws:  # each can be put into Optuna's storage and comes back as it was
        internal = parameter.distribution.to_internal_repr(raw)
        assert repr(parameter.value(parameter.distribution.to_external_repr(internal))) == repr(parameter.value(raw))


def test_a_grid_of_random_numbers_is_refused() -> None:
    with pytest.raises(SweepError, match=r"parameters\.x: uniform has no grid; choose one of: constant, categ"):
        one({"min": 0.0, "max": 1.0}).grid()


BAD_DRAWS = [
    ("{values: [1, 2], probabilities: [0.5]}", "probabilities: must be a list of 2 numbers, one for each value"),
    ("{values: [1, 2], probabilities: [0.5, 0.6]}", "probabilities: must be at least 0 and sum to 1, got [0.5, 0.6]"),
    ("{values: [1, 2], probabilities: [1.5, -0.5]}", "probabilities: must be at least 0 and sum to 1"),
    ("{distribution: log_uniform_values, min: 0, max: 1}", "min: must be above 0 with log_uniform_values, got 0"),
    ("{distribution: log_uniform_values, min: 1e-5, max: 1}", "min: must be a finite number, got '1e-5' (YAML takes "),
    ("{min: 0, max: .inf}", "max: must be a finite number, got inf"),
    ("{distribution: normal, sigma: 0}", "sigma: must be above 0, got 0"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_DRAWS)
def test_mistakes_of_distributions_are_named(settings: str, message: str) -> None:
    with pytest.raises(SweepError) as error:
        one(yaml.safe_load(settings))
    assert str(error.value).startswith(f"parameters.x.{message}")


@pytest.mark.parametrize(
    "settings",
    [
        {"distribution": "log_uniform", "min": 0, "max": 1000},
        {"distribution": "log_uniform", "min": -1000, "max": 0},
        {"distribution": "inv_log_uniform", "min": -1000, "max": 0},
        {"distribution": "log_normal", "mu": 1000},
        {"distribution": "q_log_normal", "mu": 0, "sigma": 200},
    ],
)
def test_what_would_be_infinite_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SweepError, match=r"parameters\.x: .* of these bounds is not finite"):
        one(settings)

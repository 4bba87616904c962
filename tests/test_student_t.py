import pytest
from scipy.stats import t

from iclgd.student_t import t_quantile


@pytest.mark.parametrize("degrees", [1, 1.3, 2, 2.7, 3, 9, 29.5, 999, 3000.5, 1e6])
@pytest.mark.parametrize("probability", [0.6, 0.9, 0.975, 0.995])
def test_quantiles_are_scipys(degrees: float, probability: float) -> None:
    assert t_quantile(degrees, probability) == pytest.approx(t.ppf(probability, degrees), rel=1e-11)


@pytest.mark.parametrize(("degrees", "probability"), [(0.5, 0.975), (float("nan"), 0.975), (3, 0.5), (3, 0.9999)])
def test_what_is_out_of_range_is_refused(degrees: float, probability: float) -> None:
    with pytest.raises(ValueError, match=r"degrees must be at least 1, probability from 0\.6 to 0\.995"):
        t_quantile(degrees, probability)

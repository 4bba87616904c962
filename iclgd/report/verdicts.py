"""What which_algorithm found, in words and numbers."""

from typing import Any

NUM_ALIKE = 3  # learners that are named


def place_text(verdict: dict[str, Any]) -> str:
    """Say of which part of a model a verdict is: after which layer, or at which positions of prompts.

    Example:
        >>> place_text({"layer": 2}), place_text({"layer": 1, "positions": [1, 4, 9]}), place_text({"positions": [3]})
        ('Layer 2', 'Positions 1, 4, 9', 'Position 3')
    """
    positions = verdict.get("positions")
    if not positions:
        return f"Layer {verdict['layer']}"
    return f"Position{'s' * (len(positions) > 1)} {', '.join(map(str, positions))}"


def verdict_text(verdict: dict[str, Any]) -> str:
    """Put a verdict into words; one over positions says which learners cannot be told from the one that it names.

    Example:
        >>> verdict_text({"layer": 1, "learner": "gd(1)", "nearest": "ridge(3)", "indistinguishable": ["gd(1)"],
        ...     "distance": 0.2, "distance_low": 0.18, "distance_high": 0.22, "share_nearest": 0.9,
        ...     "sensitivity_norm": 2.0})
        'Layer 1: gd(1). Nearest: ridge(3), at 0.2 [0.18, 0.22], 10% of the sensitivity; in 90% of resamples.'
    """
    return (
        f"{place_text(verdict)}: {verdict['learner']}{_alike(verdict)}. "
        f"Nearest: {verdict['nearest']}, at {interval(verdict)}, "
        f"{100 * relative_distance(verdict):.3g}% of the sensitivity; "
        f"in {100 * verdict['share_nearest']:.3g}% of resamples."
    )


def _alike(verdict: dict[str, Any]) -> str:
    """Name learners that are the same as far as prompts can tell, such as ridge and least squares without noise."""
    if not verdict.get("positions") or not verdict.get("is_near"):
        return ""
    alike = [name for name in (verdict["nearest"], *verdict["indistinguishable"]) if name != verdict["learner"]]
    more = f" and {len(alike) - NUM_ALIKE} more" * (len(alike) > NUM_ALIKE)
    return f", not told from {', '.join(alike[:NUM_ALIKE])}{more}" if alike else ""


def interval(verdict: dict[str, Any]) -> str:
    """Return the nearest learner's distance with its 95 % interval."""
    return f"{verdict['distance']:.3g} [{verdict['distance_low']:.3g}, {verdict['distance_high']:.3g}]"


def relative_distance(verdict: dict[str, Any]) -> float:
    """Return the distance over the norm of the model's sensitivity; NaN for a model without any."""
    norm = verdict["sensitivity_norm"]
    return verdict["distance"] / norm if norm else float("nan")

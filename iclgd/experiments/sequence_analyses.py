"""The analyses of a run on sequences, each one entry of ``ANALYSES``."""

from collections.abc import Callable
from dataclasses import dataclass, field

from iclgd import checks
from iclgd.analysis.sequences.by_position import by_position
from iclgd.analysis.sequences.controls import Controls
from iclgd.analysis.sequences.probes import probes
from iclgd.data.sequences import SequenceBatch
from iclgd.experiments.protocol import DrawRecord, Record
from iclgd.models.sequences import SequenceTransformer
from iclgd.report import sequence_figures


@dataclass(frozen=True)
class AnalysisConfig:
    """What to look at after training.

    Raises:
        ValueError: if a value is out of its range, or for an unknown analysis.
    """

    run: list[str] = field(default_factory=lambda: list(ANALYSES))
    """Analyses to make after training."""
    num_sequences: int = 2000
    """Sequences on which each analysis looks."""

    def __post_init__(self) -> None:
        checks.all_of(ANALYSES, "analysis", self, "run")
        checks.at_least(2, "analysis", self, "num_sequences")

    def check(self, width: int) -> None:
        """Refuse probes of more channels than half of the sequences can fit.

        Args:
            width: channels of a token.

        Raises:
            ValueError: with the reason.
        """
        if "probes" in self.run and self.num_sequences < 4 * width:
            raise ValueError(
                f"analysis.num_sequences must be at least four times the {width} channels of a token for "
                f"analysis.run: probes, got {self.num_sequences}"
            )


@dataclass(frozen=True)
class Analysis:
    """An analysis of a run on sequences.

    Args:
        description: one line.
        run: looks at a trained model on sequences, beside the learners; the number is the run's seed.
        figure: draws the record.
        table: none has one.
    """

    description: str
    run: Callable[[SequenceTransformer, Controls, SequenceBatch, int], Record]
    figure: DrawRecord | None = None
    table: None = None


ANALYSES: dict[str, Analysis] = {
    "by_position": Analysis(
        "the loss at every position of a sequence, beside least squares and gradient descent",
        run=lambda model, controls, batch, seed: by_position(model, controls, batch),
        figure=sequence_figures.by_position,
    ),
    "probes": Analysis(
        "what can be read linearly from each layer: preconditioned inputs, and the next state",
        run=probes,
        figure=sequence_figures.probes,
    ),
}

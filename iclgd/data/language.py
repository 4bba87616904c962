"""What all languages share that a language model is trained on: generated ones, and corpora of text."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from omegaconf import MISSING


@dataclass(frozen=True)
class LanguageConfig(ABC):
    """A language has a name, and sequences of some length."""

    name: str = MISSING
    """Which language."""

    @property
    @abstractmethod
    def num_tokens(self) -> int:
        """Return how many tokens of a sequence a model reads."""

    @property
    @abstractmethod
    def least_vocabulary_size(self) -> int:
        """Return how many tokens a model knows at the least."""

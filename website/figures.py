"""Bring a run's figure into docs/figures, small enough for a repository: python -m website.figures FIGURE.png NAME."""

import sys
from pathlib import Path

from PIL import Image

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
MOST_PIXELS = 1100  # of its width
NUM_COLOURS = 64  # of lines, bands and letters


def bring(source: Path, target: Path) -> None:
    """Write a figure with fewer colours, and no wider than a page shows it."""
    image = Image.open(source).convert("RGB")
    width = min(image.width, MOST_PIXELS)
    small = image.resize((width, image.height * width // image.width), Image.Resampling.LANCZOS)
    small.quantize(NUM_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(target, optimize=True)


if __name__ == "__main__":
    bring(Path(sys.argv[1]), FIGURES / f"{sys.argv[2]}.png")

import pytest


@pytest.fixture(autouse=True)
def _quick_images(quick_images: None) -> None:
    """Lay out no pixels: what figures look like is tested where they are drawn."""

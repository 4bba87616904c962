import socket
from pathlib import Path

import datasets
import pytest

from iclgd.vendors.datasets import offline


def test_datasets_is_as_we_take_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[object] = []

    def refuse(*address: object, **keys: object) -> None:
        asked.append(address)
        raise OSError("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    with offline(), pytest.raises(Exception, match=r"[oO]ffline"):
        datasets.load_dataset("iclgd/absent", cache_dir=str(tmp_path))
    assert asked == [], "datasets has another switch for its cache alone: without a network runs wait for half a minute"
    assert datasets.config.HF_HUB_OFFLINE is False

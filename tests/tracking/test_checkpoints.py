import json
import random
from pathlib import Path

import torch

from iclgd.tracking.checkpoints import Table, damage, write_sealed


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "step=1.ckpt"
    write_sealed({"weights": torch.arange(8.0), "global_step": 1}, path)
    whole = path.read_bytes()
    assert damage(path) is None
    assert torch.load(path, weights_only=True)["weights"].tolist() == list(range(8))
    chance = random.Random(0)
    ends = range(8 * (len(whole) - 100), 8 * len(whole))  # the seal itself
    for bit in [*ends, *chance.sample(range(8 * len(whole)), 500)]:
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        assert damage(path) is not None, bit


def test_what_is_cut_or_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "step=1.ckpt"
    write_sealed({"global_step": 1}, path)
    whole = path.read_bytes()
    for length in (0, 1, 50, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert damage(path) is not None
    path.write_bytes(whole + b"x")
    assert damage(path) is not None
    torch.save({"global_step": 1}, path)
    assert damage(path) == "it has no checksum: cut, overwritten, or not one of ours"
    path.unlink()
    assert "cannot be read" in str(damage(path))


def test_a_table_gives_back_its_lines(tmp_path: Path) -> None:
    records: list[dict[str, float]] = [{"step": 0, "a": 0.1}, {"step": 10, "a": float("nan"), "b": 1e-300}]
    records += [{"step": step, "a": step / 7, "b": float("inf")} for step in range(20, 100, 10)]
    table = Table()
    for record in records:
        table.append(record)
        write_sealed({"table": table.state(), "global_step": 1}, tmp_path / "step=1.ckpt")
    again = Table(torch.load(tmp_path / "step=1.ckpt", weights_only=True)["table"])
    assert [json.dumps(record) for record in again.records()] == [json.dumps(record) for record in records]
    assert Table(Table().state()).records() == []

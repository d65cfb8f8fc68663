from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mmcl.errors import UserError
from mmcl.training import checkpoint as module
from mmcl.training.checkpoint import Checkpoint, find_fault, load_checkpoint, newest_checkpoint, save_checkpoint


def make(step: int) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    tensors = {
        "model": {"w": torch.randn(4, 3, generator=generator)},
        "optimizer": {"w/step": torch.tensor(float(step))},
    }
    return Checkpoint(step, tensors, {"order_hash": f"hash-{step}"})


def flip_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, make(7), keep=1)
    loaded = load_checkpoint(path)
    assert loaded.step == 7
    assert loaded.state == {"order_hash": "hash-7"}
    assert torch.equal(loaded.tensors["model"]["w"], make(7).tensors["model"]["w"])
    assert loaded.tensors["optimizer"]["w/step"].item() == 7.0


def test_older_ones_go_beyond_the_number_kept(tmp_path: Path) -> None:
    for step in range(1, 6):
        save_checkpoint(tmp_path, make(step), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000004", "step-00000005"]


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_a_flipped_byte_is_found_and_the_earlier_one_taken(tmp_path: Path, file: str) -> None:
    good = save_checkpoint(tmp_path, make(1), keep=2)
    rotten = save_checkpoint(tmp_path, make(2), keep=2)
    flip_byte(rotten / file)
    path, skipped = newest_checkpoint(tmp_path)
    assert path == good
    assert len(skipped) == 1
    assert str(rotten) in skipped[0]
    with pytest.raises(UserError, match="is not whole"):
        load_checkpoint(rotten)


def test_a_missing_file_is_found(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, make(1), keep=1)
    (path / "model.safetensors").unlink()
    assert find_fault(path) == "model.safetensors is missing"


def test_a_rotten_later_one_does_not_push_out_a_fresh_one(tmp_path: Path) -> None:
    flip_byte(save_checkpoint(tmp_path, make(9), keep=1) / "state.json")
    fresh = save_checkpoint(tmp_path, make(3), keep=1)
    assert newest_checkpoint(tmp_path)[0] == fresh


def test_a_crash_while_writing_leaves_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = save_checkpoint(tmp_path, make(1), keep=1)

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module.json, "dumps", crash)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, make(2), keep=1)
    monkeypatch.undo()
    assert newest_checkpoint(tmp_path) == (good, [])
    save_checkpoint(tmp_path, make(2), keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "missing") == (None, [])


def test_not_a_number_is_never_written_as_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(tmp_path, Checkpoint(1, {}, {"loss": float("nan")}), keep=1)
    assert json.loads((save_checkpoint(tmp_path, make(1), 1) / "state.json").read_text())["step"] == 1

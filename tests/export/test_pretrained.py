from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel, BertConfig, BertModel

from mmcl.export.pretrained import on_cpu, save_pretrained
from tests.towers import tiny_configs as tiny

CONFIG = BertConfig(**tiny.POSITIONS, vocab_size=18)


def test_auto_model_opens_what_was_saved(tmp_path: Path) -> None:
    model = BertModel(CONFIG)
    save_pretrained(model.config, model.state_dict(), tmp_path)
    opened = AutoModel.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(opened[name], tensor) for name, tensor in model.state_dict().items())


def test_weights_that_do_not_fit_are_found_before_they_are_written(tmp_path: Path) -> None:
    state = BertModel(CONFIG).state_dict()
    del state["pooler.dense.bias"]
    with pytest.raises(RuntimeError, match="Missing key"):
        save_pretrained(CONFIG, state, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


def test_a_model_without_pooler_is_saved_without(tmp_path: Path) -> None:
    state = BertModel(CONFIG, add_pooling_layer=False).state_dict()
    save_pretrained(CONFIG, state, tmp_path, has_pooler=False)
    assert AutoModel.from_pretrained(tmp_path, add_pooling_layer=False).pooler is None


def test_copies_share_no_memory() -> None:
    tensor = torch.ones(2, dtype=torch.bfloat16)
    copies = on_cpu({"one": tensor, "two": tensor, "count": torch.tensor(3)})
    assert copies["one"].dtype == torch.float32
    assert copies["count"].dtype == torch.int64
    copies["one"].zero_()
    assert copies["two"].tolist() == [1, 1]

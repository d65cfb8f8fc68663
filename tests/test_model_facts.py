from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmcl.errors import UserError
from mmcl.export import ModelCardFacts, export_model
from mmcl.model import build_model
from mmcl.model_facts import look_at_model
from tests.studies import save_models
from tests.tiny import bert_alone, save_tokenizer
from tests.towers import joint_families, open_clip_families, sentence_models
from tests.towers.tiny_configs import VIT, lone_image


def test_what_a_model_encodes_is_known_without_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = save_tokenizer(tmp_path / "words")
    (pair,) = save_models(tmp_path / "pair", ["a"])
    export_model(build_model(bert_alone(words)), tmp_path / "texts" / "model", ModelCardFacts("x"))
    export_model(build_model(lone_image(VIT)), tmp_path / "pictures", ModelCardFacts("x"))
    joint_families.save(joint_families.FAMILIES["clip"], tmp_path / "clip")
    open_clip_families.save(open_clip_families.FAMILIES["clip"], tmp_path / "open_clip")
    sentence_models.save(tmp_path / "sentences", words)
    sentence_models.save(tmp_path / "weighted", words, "weightedmean")
    np.save(tmp_path / "rows.npy", np.eye(4, dtype=np.float32))
    monkeypatch.setattr("safetensors.torch.load_file", lambda *_, **__: pytest.fail("weights were loaded"))
    both, expected = ("image", "text"), {}
    for name, modalities in {
        pair: both,
        f"untrained:{pair}": both,
        str(tmp_path / "texts"): ("text",),  # a run
        str(tmp_path / "pictures"): ("image",),
        str(tmp_path / "clip"): both,
        str(tmp_path / "open_clip"): both,
        str(tmp_path / "sentences/model"): ("text",),
        str(tmp_path / "weighted/model"): ("text",),
        str(tmp_path / "rows.npy"): ("image",),
    }.items():
        facts = look_at_model(name)
        assert facts.num_bytes > 0
        expected[name] = (facts.modalities, modalities)
    assert all(found == modalities for found, modalities in expected.values()), expected
    assert look_at_model("ViT-B-32,openai").modalities == both


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    (pair,) = save_models(tmp_path, ["a"])
    with pytest.raises(UserError, match=r"there is no folder .*Did you mean"):
        look_at_model(f"{pair}b")
    with pytest.raises(UserError, match='has no weights "openia" in open_clip'):
        look_at_model("ViT-B-32,openia")
    with pytest.raises(UserError, match="is a folder without a model"):
        look_at_model(str(tmp_path))
    for file in Path(pair).rglob("*.safetensors"):
        file.unlink()
    with pytest.raises(UserError, match="holds no weights"):
        look_at_model(pair)
    np.save(tmp_path / "x.npy", np.eye(4, dtype=np.float32))
    with pytest.raises(UserError, match="embeddings in a file have no architecture"):
        look_at_model(f"untrained:{tmp_path / 'x.npy'}")


def test_a_file_of_embeddings_that_is_not_there_is_a_file_not_a_hub_id(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.eye(4, dtype=np.float32))
    with pytest.raises(UserError, match=r'there is no file .*row\.npy\. Did you mean ".*rows\.npy"\?'):
        look_at_model(str(tmp_path / "row.npy"))

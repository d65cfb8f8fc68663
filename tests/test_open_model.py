"""Models of every library, made tiny and saved by it, embed as the library embeds and are judged by one command."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize

import mmcl
from mmcl.cli.main import main
from mmcl.embedder import ModelEmbedder, load
from mmcl.errors import UserError
from mmcl.export import ModelCardFacts, export_model
from mmcl.model import build_model
from mmcl.open_model import open_model
from mmcl.sentence_embedder import SentenceEmbedder
from tests.studies import save_models
from tests.tiny import WORDS, save_pairs, save_tokenizer, vit_bert_pair
from tests.towers import joint_families, open_clip_families, sentence_models
from tests.towers.samples import TEXTS, pictures
from tests.towers.tiny_configs import OPEN_CLIP

Expected = tuple[Any, Any]


def transformers_clip(folder: Path) -> tuple[str, Expected]:
    family = joint_families.FAMILIES["clip"]
    joint_families.save(family, folder)
    return str(folder), joint_families.encode(family, folder)


def transformers_siglip(folder: Path) -> tuple[str, Expected]:
    family = joint_families.FAMILIES["siglip"]
    joint_families.save(family, folder)
    return str(folder), joint_families.encode(family, folder)


def open_clip_folder(folder: Path) -> tuple[str, Expected]:
    open_clip_families.save(open_clip_families.FAMILIES["clip"], folder)
    return str(folder), open_clip_families.encode(folder)


def open_clip_checkpoint(folder: Path) -> tuple[str, Expected]:
    folder.mkdir(parents=True)
    (folder / "tiny-checkpointed.json").write_text(json.dumps(OPEN_CLIP))
    open_clip.add_model_config(folder / "tiny-checkpointed.json")
    model, _, preprocess = open_clip.create_model_and_transforms("tiny-checkpointed")
    torch.save(model.state_dict(), folder / "epoch_1.pt")
    tokens = open_clip.get_tokenizer("tiny-checkpointed")(TEXTS)
    with torch.no_grad():
        images = model.eval().encode_image(torch.stack([preprocess(one) for one in pictures()]), normalize=True)
        texts = model.encode_text(tokens, normalize=True)
    return f"tiny-checkpointed,{folder / 'epoch_1.pt'}", (images, texts)


def sentences(folder: Path) -> tuple[str, Expected]:
    layers = [Dense(sentence_models.WIDTH, 8), Normalize()]
    model = sentence_models.save(folder, save_tokenizer(folder / "words"), "mean", layers)
    return str(folder / "model"), (None, _encoded(model, WORDS))


def sentences_of_unknown_modules(folder: Path) -> tuple[str, Expected]:
    model = sentence_models.save(folder, save_tokenizer(folder / "words"), "weightedmean")
    return str(folder / "model"), (None, _encoded(model, WORDS))


def sentences_and_pictures(folder: Path) -> tuple[str, Expected]:
    joint_families.save(joint_families.FAMILIES["clip"], folder / "clip")
    SentenceTransformer(str(folder / "clip"), device="cpu").save(str(folder / "model"))
    model = SentenceTransformer(str(folder / "model"), device="cpu")
    return str(folder / "model"), (_encoded(model, pictures()), _encoded(model, TEXTS))


def router(folder: Path) -> tuple[str, Expected]:
    pair = build_model(vit_bert_pair(save_tokenizer(folder / "words")))
    export_model(pair, folder / "model", ModelCardFacts("x"))
    (folder / "model" / "mmcl.json").unlink()  # now nothing says that it was ours
    model = SentenceTransformer(str(folder / "model"), device="cpu")
    return str(folder / "model"), (_encoded(model, pictures()), _encoded(model, WORDS))


def _encoded(model: SentenceTransformer, items: Any) -> Any:
    return model.encode(items, show_progress_bar=False, normalize_embeddings=True)


MAKERS = [
    *(transformers_clip, transformers_siglip, open_clip_folder, open_clip_checkpoint),
    *(sentences, sentences_of_unknown_modules, sentences_and_pictures, router),
]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_a_saved_model_embeds_as_its_library_does_and_is_judged(
    make: Callable[[Path], tuple[str, Expected]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, (images, texts) = make(tmp_path / "made")
    found = open_model(name, "cpu")
    if images is not None:
        assert (found.encode_images(pictures()) * np.asarray(images)).sum(axis=1).min() > 1 - 1e-5
    given = WORDS if len(texts) == len(WORDS) else TEXTS
    assert (found.encode_texts(given) * np.asarray(texts)).sum(axis=1).min() > 1 - 1e-5
    lines = ["text,positive", *(f"{word} one,{word} two" for word in WORDS)]
    (tmp_path / "texts.csv").write_text("\n".join(lines) + "\n")
    on_texts = ["-t", "bitext_mining", "-d", str(tmp_path / "texts.csv")]
    on_pictures = ["-t", "zeroshot_classification", "-d", str(save_pairs(tmp_path / "data", 12, 8))]
    assert main(["evaluate", name, *(on_texts if images is None else on_pictures)]) == 0
    assert ("f1" if images is None else "acc1") in capsys.readouterr().out


def test_what_has_no_form_here_is_run_by_its_own_library_which_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name, _ = sentences_of_unknown_modules(tmp_path)
    with caplog.at_level(logging.WARNING):
        found = open_model(name)
    assert isinstance(found, SentenceEmbedder)
    assert "weightedmean, which is not known here" in caplog.text
    assert "it is run by sentence-transformers itself" in caplog.text


def test_without_the_library_the_way_to_have_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _ = sentences_of_unknown_modules(tmp_path)
    monkeypatch.setattr("mmcl.sentence_embedder.find_spec", lambda package: None)
    with pytest.raises(UserError, match="needs sentence-transformers: pip install sentence-transformers"):
        open_model(name)


def test_untrained_before_a_name_is_its_architecture_with_fresh_weights(tmp_path: Path) -> None:
    (name,) = save_models(tmp_path, ["a"])
    found, trained = mmcl.load(f"untrained:{name}"), mmcl.load(name)
    assert found.name == f"untrained:{name}"
    assert np.array_equal(found.encode_texts(["alpha"]), load(name).untrained().encode_texts(["alpha"]))
    assert not np.allclose(found.encode_texts(["alpha"]), trained.encode_texts(["alpha"]))
    assert isinstance(trained, ModelEmbedder)

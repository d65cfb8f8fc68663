from __future__ import annotations

import pickle
from pathlib import Path

import open_clip
import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from mmcl import packaged
from mmcl.errors import UserError
from mmcl.text.tokenizer import (
    HuggingFaceTokenizer,
    OpenClipTokenizer,
    check_ids_fit,
    ends_texts_with,
    load_tokenizer,
    longest_text,
    special_token_ids,
)
from tests.tiny import SPECIAL, WORDS, save_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers


@pytest.fixture
def backend(tmp_path: Path) -> PreTrainedTokenizerFast:
    return load_tokenizer(save_tokenizer(tmp_path / "tokenizer"))


def bare(**tokens: str) -> PreTrainedTokenizerFast:
    """A tokenizer that adds nothing to a text."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2, "</s>": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", **tokens)


def test_a_tokenizer_that_needs_another_library_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    def lack(name: str) -> None:
        raise ImportError(" \nSiglipTokenizer requires the protobuf library but it was not found. Checkout the page.\n")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lack)
    with pytest.raises(UserError) as caught:
        load_tokenizer("google/siglip-base-patch16-224")
    assert str(caught.value) == (
        "cannot load the tokenizer of google/siglip-base-patch16-224: SiglipTokenizer requires the protobuf library but"
        " it was not found"
    )


def test_a_batch_is_as_wide_as_its_longest_text(backend: PreTrainedTokenizerFast) -> None:
    batch = HuggingFaceTokenizer(backend, 8)(["alpha", "a greek letter"])
    assert batch.input_ids.tolist()[0] == [2, 7, 3, 0, 0]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch.input_ids.dtype == batch.attention_mask.dtype == torch.int64


def test_long_texts_are_cut_and_counted(backend: PreTrainedTokenizerFast) -> None:
    tokenizer = HuggingFaceTokenizer(backend, 4)
    texts = ["alpha beta", "alpha beta a", "a b c d e"]
    assert tokenizer(texts).input_ids.shape == (3, 4)
    assert tokenizer(texts).input_ids[2, -1] == 3, "the end token survives the cut"
    assert tokenizer.count_too_long(texts) == 2


def test_fixed_length_pads_and_hides_the_mask_from_the_model(backend: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tokenizer = HuggingFaceTokenizer(backend, 8, pads_to_max_length=True)
    assert tokenizer(["alpha"]).input_ids.shape == (1, 8)
    assert not tokenizer.masks_padding
    tokenizer.save(tmp_path / "saved")
    assert "attention_mask" not in AutoTokenizer.from_pretrained(tmp_path / "saved")("alpha")


def test_a_saved_tokenizer_cuts_where_the_model_does(backend: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    HuggingFaceTokenizer(backend, 5).save(tmp_path / "saved")
    saved = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert saved.model_max_length == 5
    assert len(saved("a b c d e f g", truncation=True)["input_ids"]) == 5
    assert backend.model_max_length == 32, "saving leaves the tokenizer as it was"


def test_texts_without_tokens_are_one_padding_token_each() -> None:
    tokenizer = HuggingFaceTokenizer(bare(eos_token="</s>"), 8)
    assert tokenizer(["", ""]).attention_mask.tolist() == [[1], [1]]
    assert tokenizer(["a b", ""]).attention_mask.tolist() == [[1, 1], [1, 0]]


def test_without_padding_token_it_pads_with_the_end_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = HuggingFaceTokenizer(bare(eos_token="</s>"), 8)
    assert tokenizer(["a b", "a"]).input_ids.tolist() == [[1, 2], [1, 3]]
    assert "pads with </s>" in caplog.text


def test_without_padding_and_end_token_it_is_refused() -> None:
    with pytest.raises(UserError, match="neither a padding nor an end token"):
        HuggingFaceTokenizer(bare(), 8)


def test_fingerprint_follows_vocabulary_and_length(backend: PreTrainedTokenizerFast) -> None:
    one = HuggingFaceTokenizer(backend, 8).fingerprint()
    assert one == HuggingFaceTokenizer(backend, 8).fingerprint()
    assert one != HuggingFaceTokenizer(backend, 9).fingerprint()
    assert one != HuggingFaceTokenizer(bare(eos_token="</s>"), 8).fingerprint()


def test_it_goes_to_worker_processes(backend: PreTrainedTokenizerFast) -> None:
    tokenizer = pickle.loads(pickle.dumps(HuggingFaceTokenizer(backend, 8)))
    assert tokenizer(["alpha"]).input_ids.tolist() == [[2, 7, 3]]


def test_open_clip_padding_is_cut_behind_the_longest_text() -> None:
    backend = open_clip.get_tokenizer("ViT-B-32")
    tokenizer = OpenClipTokenizer(backend, 0, pads_to_max_length=False)
    # "!" inside a word has the id that CLIP pads with.
    texts = ["a photo!?!?!", "a"]
    batch = tokenizer(texts)
    whole = backend(texts)
    width = batch.input_ids.shape[1]
    assert 0 in whole[0, :width].tolist(), "the text must hold a token that looks like padding"
    assert torch.equal(batch.input_ids, whole[:, :width])
    assert not whole[:, width:].any()
    assert batch.attention_mask[0].all()
    assert batch.attention_mask[1].sum() == 3


def test_open_clip_pads_to_its_context_when_asked() -> None:
    tokenizer = OpenClipTokenizer(open_clip.get_tokenizer("ViT-B-32"), 0, pads_to_max_length=True)
    assert tokenizer(["a"]).input_ids.shape == (1, 77)


def test_open_clip_counts_what_it_cuts() -> None:
    tokenizer = OpenClipTokenizer(open_clip.get_tokenizer("ViT-B-32", context_length=6), 0, False)
    assert tokenizer.count_too_long(["a a a a", "a a a a a", "a " * 40]) == 2


def test_packaged_tokenizers_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tokenizer(tmp_path / "tokenizers" / "runes")
    monkeypatch.setattr("mmcl.text.tokenizer.packaged_folder", lambda kind: tmp_path / kind)
    assert len(load_tokenizer("runes")) == len(SPECIAL) + len(WORDS)
    with pytest.raises(UserError, match=r'no tokenizer "rumes": not packaged .runes.*Did you mean "runes"'):
        load_tokenizer("rumes")
    assert packaged.packaged_folder("tokenizers") != tmp_path


def test_a_folder_without_tokenizer_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no tokenizer in this folder .tokenizer.json"):
        load_tokenizer(str(tmp_path))


def test_max_length_is_what_model_and_tokenizer_allow(backend: PreTrainedTokenizerFast) -> None:
    assert longest_text(backend, 12, None, "x") == 12
    assert longest_text(backend, 100, None, "x") == 32
    assert longest_text(backend, 100, 50, "x") == 50
    with pytest.raises(UserError, match="max_length of x must be at most 12, the positions it has, got 13"):
        longest_text(backend, 12, 13, "x")
    with pytest.raises(UserError, match="x does not say how long a text may be; give max_length"):
        longest_text(bare(), None, None, "x")


def test_more_ids_than_embeddings_are_refused(backend: PreTrainedTokenizerFast) -> None:
    check_ids_fit(backend, len(backend), "x")
    with pytest.raises(UserError, match=f"tokenizer of x has {len(backend)} ids, but the model embeds only 5"):
        check_ids_fit(backend, 5, "x")


def test_special_tokens_are_called_as_configurations_call_them(backend: PreTrainedTokenizerFast) -> None:
    assert special_token_ids(backend) == {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    berts = bare(cls_token="a", sep_token="b", pad_token="</s>")
    assert special_token_ids(berts) == {"pad_token_id": 3, "bos_token_id": 1, "eos_token_id": 2}


def test_end_token_is_looked_for_in_a_real_text(backend: PreTrainedTokenizerFast) -> None:
    assert ends_texts_with(backend, 3)
    assert not ends_texts_with(backend, 2)
    assert not ends_texts_with(bare(), None)

"""From strings to token ids: transformers' tokenizers and open_clip's own behind one interface."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from mmcl.batch import TokenBatch
from mmcl.errors import UserError, did_you_mean
from mmcl.packaged import packaged_folder
from mmcl.text.prompts import NO_PROMPTS, Prompts

_log = logging.getLogger(__name__)

# Above this, a tokenizer's model_max_length is transformers' way of saying that it has none.
NO_LENGTH = 1_000_000


class TextTokenizer(ABC):
    """Turns texts into a padded batch.

    Attributes:
        max_length: longest text in tokens, special tokens included; the rest is cut off.
        pads_to_max_length: every batch is ``max_length`` wide, because the model was trained so; else as wide as its
            longest text.
        prompts: of the model; whoever encodes puts them before the texts.
    """

    max_length: int
    pads_to_max_length: bool
    prompts: Prompts = NO_PROMPTS

    @abstractmethod
    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        """Return the batch of one or more texts: ids and mask of shape ``(B, L)``, L at most ``max_length``."""

    @abstractmethod
    def count_too_long(self, texts: Sequence[str]) -> int:
        """Return how many texts have more tokens than ``max_length``, and are therefore cut."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the files it can be loaded from."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a string that changes whenever token ids may change."""


class HuggingFaceTokenizer(TextTokenizer):
    """A transformers tokenizer.

    Args:
        backend: the tokenizer; one without a padding token pads with its end token, which the mask hides.
        max_length: longest text in tokens.
        pads_to_max_length: pad every batch to ``max_length``, and keep the mask from the model, which was trained to
            attend to its padding.
    """

    def __init__(self, backend: PreTrainedTokenizerBase, max_length: int, pads_to_max_length: bool = False) -> None:
        if backend.pad_token is None:
            if backend.eos_token is None:
                raise UserError(f"{backend.name_or_path}: the tokenizer has neither a padding nor an end token")
            _log.warning("%s has no padding token; it pads with %s", backend.name_or_path, backend.eos_token)
            backend.pad_token = backend.eos_token
        if pads_to_max_length:
            # In both places: what it does now, and what it is saved with.
            backend.model_input_names = backend.init_kwargs["model_input_names"] = ["input_ids"]
        self.backend = backend
        self.max_length = max_length
        self.pads_to_max_length = pads_to_max_length

    @property
    def masks_padding(self) -> bool:
        """True when the model is told which tokens are padding, as the saved tokenizer tells it too."""
        return "attention_mask" in self.backend.model_input_names

    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        encoded = self.backend(
            list(texts),
            padding="max_length" if self.pads_to_max_length else True,
            truncation=True,
            max_length=self.max_length,
            return_attention_mask=True,
            return_tensors="pt",
        )
        ids, mask = encoded["input_ids"].long(), encoded["attention_mask"].long()
        if ids.shape[1] == 0:
            # Nothing but empty texts, and a tokenizer without special tokens.
            ids = ids.new_full((len(texts), 1), self.backend.pad_token_id)
            mask = torch.zeros_like(ids)
        # Attention over no token at all is not a number; a text without tokens attends to its first padding.
        mask[mask.sum(dim=1) == 0, 0] = 1
        return TokenBatch(ids, mask)

    def count_too_long(self, texts: Sequence[str]) -> int:
        # verbose=False keeps quiet about the very thing that is counted here.
        rows = self.backend(list(texts), return_attention_mask=False, verbose=False)["input_ids"]
        return sum(len(row) > self.max_length for row in rows)

    def save(self, folder: Path) -> None:
        """Write the files that ``AutoTokenizer`` loads, with ``max_length`` as its ``model_max_length``."""
        with self.as_saved() as backend:
            backend.save_pretrained(folder)

    @contextmanager
    def as_saved(self) -> Iterator[PreTrainedTokenizerBase]:
        """Lend the transformers tokenizer with ``max_length`` as its ``model_max_length``."""
        before = self.backend.model_max_length
        self.backend.model_max_length = self.max_length
        try:
            yield self.backend
        finally:
            self.backend.model_max_length = before

    def fingerprint(self) -> str:
        fast = getattr(self.backend, "backend_tokenizer", None)
        content = fast.to_str() if fast is not None else repr(sorted(self.backend.get_vocab().items()))
        return f"{content} {self.max_length} {self.pads_to_max_length}"


class OpenClipTokenizer(TextTokenizer):
    """open_clip's tokenizer of a model.

    Args:
        backend: what ``open_clip.get_tokenizer`` returns; its context length is ``max_length``.
        pad_id: the id that it pads with.
        pads_to_max_length: the model was built for its whole context; else padding that no text of a batch needs is
            cut off, which changes no embedding of a causal model and no embedding of a masked one.
    """

    def __init__(self, backend: Any, pad_id: int, pads_to_max_length: bool) -> None:
        self.backend = backend
        self.pad_id = pad_id
        self.max_length = int(backend.context_length)
        self.pads_to_max_length = pads_to_max_length

    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        ids = self.backend(list(texts))
        lengths = self._lengths(ids)
        if not self.pads_to_max_length:
            ids = ids[:, : int(lengths.max())].contiguous()
        return TokenBatch(ids, (torch.arange(ids.shape[1]) < lengths[:, None]).long())

    def count_too_long(self, texts: Sequence[str]) -> int:
        # Twice the room, so that a text which fills the context exactly is told from one that is cut.
        ids = self.backend(list(texts), context_length=2 * self.max_length)
        return int((self._lengths(ids) > self.max_length).sum())

    def _lengths(self, ids: Tensor) -> Tensor:
        # Up to the last id that is not padding: CLIP's padding id is also that of "!" inside a text.
        places = torch.arange(1, ids.shape[1] + 1)
        return (places * (ids != self.pad_id)).amax(dim=1).clamp(min=1)

    def save(self, folder: Path) -> None:
        """Write a transformers tokenizer's files; open_clip's own vocabulary comes with open_clip and needs none."""
        if hasattr(self.backend, "save_pretrained"):
            self.backend.save_pretrained(str(folder))

    def fingerprint(self) -> str:
        probe = ["A photo, of 2 Cats! é 中文 🙂", "the quick brown fox"]
        ids = self.backend(probe).tolist()
        return f"{type(self.backend).__name__} {ids} {self.max_length} {self.pads_to_max_length}"


def attends_to_padding(model_type: str) -> bool:
    """True for SigLIP's kin: trained on texts of fixed length without a mask, and read off the last position."""
    return model_type.startswith("siglip")


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Return the transformers tokenizer of a packaged name, a folder, or a hub id, in this order.

    Raises:
        UserError: there is none.
    """
    packaged = packaged_folder("tokenizers") / name
    source = str(packaged) if "/" not in name and (packaged / "tokenizer_config.json").is_file() else name
    try:
        return AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(_not_found(name)) from error
    except ImportError as error:
        # The message of a library that lacks is a paragraph, whose first sentence says which.
        reason = str(error).strip().split(". ")[0]
        raise UserError(f"cannot load the tokenizer of {name}: {reason}") from error


def _not_found(name: str) -> str:
    if Path(name).is_dir():
        return f"{name}: no tokenizer in this folder (tokenizer.json, tokenizer_config.json)"
    folder = packaged_folder("tokenizers")
    known = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return (
        f'no tokenizer "{name}": not packaged ({", ".join(known) or "none are"}), not a folder, and not in the cache or'
        f" on the hub (or the hub could not be reached).{did_you_mean(name, known)}"
    )


def longest_text(backend: PreTrainedTokenizerBase, positions: int | None, asked: int | None, name: str) -> int:
    """Return the longest text in tokens that model and tokenizer allow, or ``asked`` when they allow it.

    Args:
        backend: the tokenizer.
        positions: how many tokens the model takes; None when it does not say.
        asked: the recipe's ``max_length``; None means as long as possible.
        name: the model, for messages.

    Raises:
        UserError: ``asked`` is more than the model takes, or nobody says how much that is.
    """
    if asked is not None:
        if positions is not None and asked > positions:
            raise UserError(f"max_length of {name} must be at most {positions}, the positions it has, got {asked}")
        return asked
    limits = [limit for limit in (positions, backend.model_max_length) if limit is not None and limit < NO_LENGTH]
    if not limits:
        raise UserError(f"{name} does not say how long a text may be; give max_length, in tokens")
    return int(min(limits))


def check_ids_fit(backend: PreTrainedTokenizerBase, rows: int, name: str) -> None:
    """Refuse a tokenizer with more ids than the model has embeddings.

    Raises:
        UserError: saying both numbers.
    """
    ids = max(backend.get_vocab().values()) + 1
    if ids > rows:
        raise UserError(
            f"the tokenizer of {name} has {ids} ids, but the model embeds only {rows}; give the tokenizer that it was"
            " trained with, or a text tower from config, whose vocabulary is made to fit"
        )


def special_token_ids(backend: PreTrainedTokenizerBase) -> dict[str, int | None]:
    """Return ``pad_token_id`` and the like for a fresh configuration."""
    names = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "mask_token_id")
    found = {name: getattr(backend, name, None) for name in names}
    # transformers' configurations know a start and an end; BERT's tokenizers call them otherwise.
    found["bos_token_id"] = found["bos_token_id"] if found["bos_token_id"] is not None else found["cls_token_id"]
    found["eos_token_id"] = found["eos_token_id"] if found["eos_token_id"] is not None else found["sep_token_id"]
    return {name: found[name] for name in names[:3]}


def ends_texts_with(backend: PreTrainedTokenizerBase, token_id: int | None) -> bool:
    """True when the tokenizer puts this id at the end of every text, as end-of-text pooling needs."""
    ids = backend("a")["input_ids"]
    return token_id is not None and bool(ids) and ids[-1] == token_id

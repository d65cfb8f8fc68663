"""The embedded data set ``glyphs``: the characters of the DejaVu fonts that come with matplotlib, and their names.

One row is one drawing of one character in one face; its caption is the character's Unicode name in lower case. The
characters are the same on every Python from 3.10 on: the fonts are older than Unicode 13, and neither the names nor the
categories of what they hold have changed since.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import uuid
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import PIL
from datasets.arrow_writer import ArrowWriter
from PIL import Image, features

from mmcl.data import glyph_drawing, glyph_scripts
from mmcl.data.glyph_drawing import FACES, Drawing, draw_face, font_file
from mmcl.data.glyph_scripts import script_of
from mmcl.errors import UserError, did_you_mean

SPLITS = ("train", "unseen_characters", "unseen_face")

HELD_OUT_FACE = "DejaVuSansMono-BoldOblique"
"""The face that ``train`` leaves out. All its characters are in other faces too, so that what is new is the face alone;
its weight and its slant occur in the family's other faces, apart."""

_FEATURES = datasets.Features(
    {
        "image": datasets.Image(),
        "text": datasets.Value("string"),
        "character": datasets.Value("string"),
        "codepoint": datasets.Value("int32"),
        "script": datasets.Value("string"),
        "face": datasets.Value("string"),
        "group": datasets.Value("string"),
    }
)


def load_glyphs(split: str | None = None) -> datasets.Dataset:
    """Return one split of the drawings. The first call on a machine renders them, which takes seconds.

    Args:
        split: ``train``, the default: seven in eight characters, in every face but `HELD_OUT_FACE`;
            ``unseen_characters``: the eighth, chosen by hash, in every face; ``unseen_face``: the characters of
            ``train`` in the face that it leaves out. Every drawing is in one split.

    Returns:
        Rows of ``image`` (8-bit grey, 48 px square, black on white), ``text`` (the Unicode name in lower case),
        ``character``, ``codepoint``, ``script`` (one of `mmcl.data.glyph_scripts.SCRIPTS`), ``face`` (one of
        `mmcl.data.glyph_drawing.FACES`) and ``group`` (equal for the drawings of a character), sorted by face and code
        point. They are read from an Arrow file below ``HF_DATASETS_CACHE``.

    Raises:
        UserError: there is no such split.
    """
    split = "train" if split is None else split
    if split not in SPLITS:
        raise UserError(f'no split "{split}" in glyphs ({", ".join(SPLITS)}).{did_you_mean(split, SPLITS)}')
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "mmcl-glyphs" / _fingerprint()
    if not folder.is_dir():
        _build(folder)
    return datasets.Dataset.from_file(str(folder / f"{split}.arrow"))


def is_unseen(character: str) -> bool:
    """Whether no drawing of the character is trained on: one character in eight, by the SHA-256 of its UTF-8 bytes."""
    return hashlib.sha256(character.encode()).digest()[-1] % 8 == 0


def _split_of(drawing: Drawing) -> str:
    if is_unseen(drawing.character):
        return "unseen_characters"
    return "unseen_face" if drawing.face == HELD_OUT_FACE else "train"


@cache
def _fingerprint() -> str:
    """Return a hash of all that the drawings depend on: this code, the fonts, and Pillow with its font renderer."""
    digest = hashlib.sha256(f"{PIL.__version__} {features.version('freetype2')}".encode())
    sources = [Path(str(module.__file__)) for module in (glyph_drawing, glyph_scripts)] + [Path(__file__)]
    for file in [*sources, *map(font_file, FACES)]:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _build(folder: Path) -> None:
    """Write the splits into ``folder``, which appears whole or not at all, whoever else is writing it."""
    aside = folder.parent / f".building-{uuid.uuid4().hex}"
    aside.mkdir(parents=True)
    try:
        writers = {split: ArrowWriter(path=str(aside / f"{split}.arrow"), features=_FEATURES) for split in SPLITS}
        for face in FACES:
            for drawing in draw_face(face):
                writers[_split_of(drawing)].write(_row(drawing))
        for writer in writers.values():
            writer.finalize()
        try:
            aside.rename(folder)
        except OSError:
            # Another process was first: a folder that holds files is never replaced. Any other failure is one.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _row(drawing: Drawing) -> dict[str, Any]:
    return {
        "image": {"bytes": _png(drawing.image), "path": None},
        "text": drawing.name,
        "character": drawing.character,
        "codepoint": ord(drawing.character),
        "script": script_of(drawing.name),
        "face": drawing.face,
        "group": drawing.character,
    }


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()

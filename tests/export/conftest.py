"""What tests of the export share."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest

from tests.tiny import save_tokenizer
from tests.towers.tiny_configs import OPEN_CLIP


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a word-level tokenizer."""
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def open_clip_name(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a tiny architecture that open_clip knows."""
    path: Path = tmp_path_factory.mktemp("open_clip") / "tiny-clip.json"
    path.write_text(json.dumps(OPEN_CLIP))
    open_clip.add_model_config(path)
    return path.stem

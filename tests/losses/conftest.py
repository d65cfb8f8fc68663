from __future__ import annotations

import pytest

from mmcl.losses import tiles

# Rows and columns of a tile, the scores kept for the backward pass, the scores computed by plain operations.
ENGINES = {"dense": (tiles.CPU_TILE, 1 << 20, 1 << 16), "kept": (tiles.CPU_TILE, 1 << 20, 0), "tiled": ((3, 4), 0, 0)}


@pytest.fixture(params=list(ENGINES))
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ways a matrix of scores is gone through, the tiles so small that a few rows need several."""
    tile, kept, dense = ENGINES[request.param]
    monkeypatch.setattr(tiles, "CPU_TILE", tile)
    monkeypatch.setattr(tiles, "KEPT_SCORES", kept)
    monkeypatch.setattr(tiles, "DENSE_SCORES", dense)
    return str(request.param)

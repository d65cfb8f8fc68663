from __future__ import annotations

from mmcl.objectives.configs.correlation import BarlowTwinsConfig


def test_the_projector_is_by_default_the_papers() -> None:
    head = BarlowTwinsConfig().head
    assert head is not None
    assert (head.num_layers, head.hidden_dim, head.output_dim, head.last_bias) == (3, 8192, 8192, False)
    assert BarlowTwinsConfig().off_diagonal_weight == 0.0051

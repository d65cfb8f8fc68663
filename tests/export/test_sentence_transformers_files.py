from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmcl.export import sentence_transformers_files as st


@pytest.mark.parametrize("name", ["Dense", "Normalize", "Pooling"])
def test_files_are_what_sentence_transformers_reads(tmp_path: Path, name: str) -> None:
    from sentence_transformers.util import import_from_string

    weight = torch.randn(3, 4)
    if name == "Dense":
        st.write_dense(tmp_path, weight)
        module = import_from_string(st.DENSE).load(str(tmp_path))
        assert torch.equal(module.linear.weight, weight)
        assert module.linear.bias is None
        assert isinstance(module.activation_function, torch.nn.Identity)
    elif name == "Normalize":
        st.write_normalize(tmp_path)
        module = import_from_string(st.NORMALIZE).load(str(tmp_path))
        assert module({"sentence_embedding": torch.tensor([[3.0, 4.0]])})["sentence_embedding"].norm().item() == 1
    else:
        st.write_pooling(tmp_path, 4, "last")
        module = import_from_string(st.POOLING).load(str(tmp_path))
        assert (module.embedding_dimension, module.pooling_mode) == (4, "lasttoken")


def test_a_head_with_bias_and_activation_is_what_sentence_transformers_reads(tmp_path: Path) -> None:
    from sentence_transformers.util import import_from_string

    weight, bias = torch.randn(3, 4), torch.randn(3)
    st.write_dense(tmp_path, weight, bias, torch.nn.Tanh)
    module = import_from_string(st.DENSE).load(str(tmp_path))
    rows = torch.randn(5, 4)
    expected = torch.tanh(rows @ weight.T + bias)
    torch.testing.assert_close(module({"sentence_embedding": rows})["sentence_embedding"], expected)


def test_class_paths_are_those_that_sentence_transformers_writes() -> None:
    from sentence_transformers.sentence_transformer.modules import (
        Dense,
        Normalize,
        Pooling,
        Router,
        StaticEmbedding,
        Transformer,
    )

    classes = {
        st.TRANSFORMER: Transformer,
        st.POOLING: Pooling,
        st.DENSE: Dense,
        st.NORMALIZE: Normalize,
        st.ROUTER: Router,
        st.STATIC_EMBEDDING: StaticEmbedding,
    }
    for path, kind in classes.items():
        assert path == f"{kind.__module__}.{kind.__name__}"

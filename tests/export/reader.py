"""Opens exported folders where this package cannot be imported, and writes down what comes out.

Run by `test_without_mmcl` in a process of its own: ``python -I reader.py JOBS.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

# A stock environment: neither package of this repository can be imported.
sys.modules["mmcl"] = None  # type: ignore[assignment]
sys.modules["evaluation"] = None  # type: ignore[assignment]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402


def by_transformers(
    folder: str, pictures: list[Image.Image], texts: list[str], padding: object
) -> tuple[object, object]:
    from transformers import AutoModel, AutoProcessor

    model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    pixels = processor(images=pictures, return_tensors="pt")
    tokens = processor(text=texts, padding=padding, truncation=True, return_tensors="pt")
    scale = np.asarray(model.logit_scale.exp().item())
    assert scale > 0
    return model.get_image_features(**pixels).pooler_output, model.get_text_features(**tokens).pooler_output


def by_sentence_transformers(
    folder: str, pictures: list[Image.Image], texts: list[str], padding: object
) -> tuple[object, object]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu")
    rows = [torch.tensor(model.encode(one, show_progress_bar=False)) for one in (pictures, texts)]
    for one in rows:
        torch.testing.assert_close(one.norm(dim=1), torch.ones(len(one)))
    return rows[0], rows[1]


def by_open_clip(folder: str, pictures: list[Image.Image], texts: list[str], padding: object) -> tuple[object, object]:
    import open_clip

    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(texts)
    return model.eval().encode_image(torch.stack([preprocess(one) for one in pictures])), model.encode_text(tokens)


def by_towers(folder: str, pictures: list[Image.Image], texts: list[str], padding: object) -> tuple[object, object]:
    from safetensors.torch import load_file
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    pixels = AutoImageProcessor.from_pretrained(f"{folder}/image")(pictures, return_tensors="pt")
    states = AutoModel.from_pretrained(f"{folder}/image").eval()(**pixels).last_hidden_state
    images = states.mean(1) @ load_file(f"{folder}/image_projection/model.safetensors")["linear.weight"].T
    tokens = AutoTokenizer.from_pretrained(f"{folder}/text")(texts, padding=True, truncation=True, return_tensors="pt")
    states = AutoModel.from_pretrained(f"{folder}/text").eval()(**tokens).last_hidden_state
    mask = tokens["attention_mask"][:, :, None]
    pooled = (states * mask).sum(1) / mask.sum(1)
    return images, pooled @ load_file(f"{folder}/text_projection/model.safetensors")["linear.weight"].T


def by_image_encoder(
    folder: str, pictures: list[Image.Image], texts: list[str], padding: object
) -> tuple[object, object]:
    from transformers import AutoImageProcessor, AutoModel

    pixels = AutoImageProcessor.from_pretrained(folder)(pictures, return_tensors="pt")
    return AutoModel.from_pretrained(folder).eval()(**pixels).last_hidden_state.mean(1), NOTHING


def by_text_encoder(
    folder: str, pictures: list[Image.Image], texts: list[str], padding: object
) -> tuple[object, object]:
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(texts, padding=padding, truncation=True, return_tensors="pt")
    return NOTHING, AutoModel.from_pretrained(folder).eval()(**tokens).last_hidden_state[:, 0]


def by_sentence_transformers_of_pictures(
    folder: str, pictures: list[Image.Image], texts: list[str], padding: object
) -> tuple[object, object]:
    return _by_stock_modules(folder, pictures), NOTHING


def by_sentence_transformers_of_texts(
    folder: str, pictures: list[Image.Image], texts: list[str], padding: object
) -> tuple[object, object]:
    return NOTHING, _by_stock_modules(folder, texts)


def by_sentence_transformers_of_queries(
    folder: str, pictures: list[Image.Image], texts: list[str], padding: object
) -> tuple[object, object]:
    return NOTHING, _by_stock_modules(folder, texts, prompt_name="query")


def _by_stock_modules(folder: str, items: list, **options: str) -> torch.Tensor:
    from sentence_transformers import SentenceTransformer

    rows = torch.tensor(SentenceTransformer(folder, device="cpu").encode(items, show_progress_bar=False, **options))
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))
    return rows


NOTHING = np.zeros((0, 1))


def main() -> None:
    jobs = json.loads(Path(sys.argv[1]).read_text())
    pictures = [Image.open(path) for path in jobs["pictures"]]
    with torch.no_grad():
        for name, folder, way, padding in jobs["jobs"]:
            images, texts = globals()[f"by_{way}"](folder, pictures, jobs["texts"], padding)
            np.savez(Path(sys.argv[1]).with_name(f"{name}-{way}.npz"), images=images, texts=texts)


if __name__ == "__main__":
    main()

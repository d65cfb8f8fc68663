"""ONNX graphs, used as their README says by a process that has nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmcl.embedder import ModelEmbedder
from mmcl.errors import RunError, UserError
from mmcl.export import to_onnx
from mmcl.export.to_onnx import check_onnx_is_installed, export_to_onnx, verify_onnx
from mmcl.export.verify import sample_pictures
from mmcl.model import TwoTower, build_model
from mmcl.recipe_model import ModelConfig
from tests.towers import tiny_configs as tiny
from tests.towers.tiny_configs import joint, lone_image, lone_text, pair, scramble

with_onnx = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")), reason='needs "mmcl[onnx]"'
)

TEXTS = ["alpha", "a greek letter " * 20, "one two black white knight", "no word that is known"]
ABSENT = ("mmcl", "evaluation", "torch", "torchvision", "transformers", "open_clip", "sentence_transformers")

# What someone does who has onnxruntime, numpy, Pillow and tokenizers alone: runs the file that lies in the folder.
READER = f"""
import sys
for name in {ABSENT!r}:
    sys.modules[name] = None
import json, runpy
from pathlib import Path
import numpy as np
from PIL import Image
jobs = json.loads(Path(sys.argv[1]).read_text())
for name, folder in jobs["folders"].items():
    found = runpy.run_path(str(Path(folder) / "embed.py"))
    images = found["embed_images"]([Image.open(path) for path in jobs["pictures"]]) if "embed_images" in found else []
    texts = found["embed_texts"](jobs["texts"]) if "embed_texts" in found else []
    one_by_one = [found["embed_texts"]([text])[0] for text in jobs["texts"]] if len(texts) else []
    np.savez(Path(sys.argv[1]).with_name(name + ".npz"), images=images, texts=texts, one_by_one=one_by_one)
"""


def configs(tokenizer: str) -> dict[str, ModelConfig]:
    return {
        "clip": joint("clip", tokenizer),
        "siglip": joint("siglip", tokenizer),
        "vit-bert-mean": pair(tiny.VIT, tiny.BERT, tokenizer, {"image_std": (0.2, 0.3, 0.4)}, {"max_length": 7}),
        "resnet": lone_image(tiny.TIMM_RESNET, resize_to=40),
        "static": lone_text(tiny.STATIC, tokenizer),
    }


def built(config: ModelConfig) -> TwoTower:
    model = build_model(config)
    scramble(model)
    return model


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder, paths = tmp_path_factory.mktemp("pictures"), []
    for number, picture in enumerate(sample_pictures()):
        paths.append(str(folder / f"{number}.png"))
        picture.save(paths[-1])
    turned = Image.Exif()
    turned[0x0112] = 6
    paths.append(str(folder / "turned.jpg"))
    sample_pictures()[2].save(paths[-1], exif=turned)
    clear = np.dstack([np.asarray(sample_pictures()[2]), np.arange(411)[:, None] % 256 * np.ones((1, 259))])
    paths.append(str(folder / "clear.png"))
    Image.fromarray(clear.astype(np.uint8), "RGBA").save(paths[-1])
    return paths


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, tokenizer: str, pictures: list[str]) -> dict[str, Any]:
    """Each model, its folder, and what the process without mmcl and torch made of pictures and texts."""
    folder, found = tmp_path_factory.mktemp("onnx"), {}
    for name, config in configs(tokenizer).items():
        model = built(config)
        found[name] = {"model": model, "report": export_to_onnx(model, folder / name, name)}
    jobs = {"folders": {name: str(folder / name) for name in found}, "pictures": pictures, "texts": TEXTS}
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, "-I", "-W", "ignore", "-c", READER, str(folder / "jobs.json")]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr[-3000:]
    for name in found:
        with np.load(folder / f"{name}.npz") as rows:
            found[name].update(rows)
    return found


@with_onnx
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(configs("")))
def test_onnxruntime_alone_gives_the_same_unit_vectors(
    exported: dict[str, Any], pictures: list[str], name: str
) -> None:
    model, found = exported[name]["model"], exported[name]
    embedder, compared = ModelEmbedder(model, name), []
    if model.has_image_tower:
        compared.append((found["images"], embedder.encode_images(pictures)))
    if model.has_text_tower:
        compared += [(found[key], embedder.encode_texts(TEXTS)) for key in ("texts", "one_by_one")]
    for rows, expected in compared:
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
        assert (rows * expected).sum(axis=1).min() >= 0.99999
        assert (expected[:3] @ expected[:3].T - 2 * np.eye(3)).max() < 0.999, "rows must differ to prove anything"
    assert found["report"].check.holds
    assert model.training, "the model is left as it was"


@with_onnx
@pytest.mark.slow
def test_batch_and_length_are_free_where_the_model_allows(exported: dict[str, Any]) -> None:
    import onnxruntime

    def shapes(name: str, graph: str) -> dict[str, list[Any]]:
        session = onnxruntime.InferenceSession(exported[name]["report"].folder / f"{graph}.onnx")
        assert [one.name for one in session.get_outputs()] == ["embeddings"]
        return {one.name: one.shape for one in session.get_inputs()}

    assert shapes("clip", "image") == {"pixel_values": ["batch", 3, 32, 32]}
    assert shapes("clip", "text") == {key: ["batch", "length"] for key in ("input_ids", "attention_mask")}
    assert shapes("siglip", "text")["input_ids"] == ["batch", 12]


@with_onnx
@pytest.mark.slow
def test_the_folder_holds_what_it_takes_and_says_how(exported: dict[str, Any]) -> None:
    files = {name: {path.name for path in one["report"].folder.iterdir()} for name, one in exported.items()}
    common = {"README.md", "embed.py"}
    assert files["clip"] == common | {"image.onnx", "text.onnx", "tokenizer.json", "preprocessor_config.json"}
    assert files["resnet"] == common | {"image.onnx", "preprocessor_config.json"}
    assert files["static"] == common | {"text.onnx", "tokenizer.json"}
    readme = (exported["clip"]["report"].folder / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert code == (exported["clip"]["report"].folder / "embed.py").read_text()
    assert "The logit scale is 14.2857." in readme
    assert re.search(r"smallest cosine (1\.0|0\.99999)\d*, at least 0.99999 to hold", readme)
    assert "the logit bias -10." in (exported["siglip"]["report"].folder / "README.md").read_text()


@with_onnx
@pytest.mark.slow
@pytest.mark.parametrize("damage", ["pixels", "tokenizer", "graph", "code"])
def test_damage_is_seen(exported: dict[str, Any], tmp_path: Path, damage: str) -> None:
    import shutil

    source, model = exported["clip"]["report"].folder, exported["clip"]["model"]
    folder = shutil.copytree(source, tmp_path / "x")
    if damage == "pixels":
        (folder / "embed.py").write_text((source / "embed.py").read_text().replace("MEAN = [0.5", "MEAN = [0.3"))
    elif damage == "tokenizer":
        words = (source / "tokenizer.json").read_text()
        (folder / "tokenizer.json").write_text(words.replace('"a": 4', '"a": 5').replace('"greek": 5', '"greek": 4'))
    elif damage == "graph":
        shutil.copy(exported["siglip"]["report"].folder / "image.onnx", folder / "image.onnx")
    else:
        (folder / "embed.py").write_text("import nothing_of_the_kind")
    check = verify_onnx(folder, model.eval())
    model.train()
    assert not check.holds
    assert (check.problem is not None) == (damage in ("code", "graph"))


@with_onnx
@pytest.mark.slow
@pytest.mark.parametrize("changed", [("list(texts)", "list(texts)[::-1]"), ("import numpy", "import nothing_such")])
def test_what_does_not_hold_is_not_kept(
    tokenizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: tuple[str, str]
) -> None:
    model, real = built(lone_text(tiny.STATIC, tokenizer)), to_onnx.reader_of
    monkeypatch.setattr(to_onnx, "reader_of", lambda model: real(model).replace(*changed))
    with pytest.raises(RunError, match=r"nothing was written: opened by onnxruntime: (smallest cosine|ModuleNot)"):
        export_to_onnx(model, tmp_path / "x", "x")
    assert list(tmp_path.iterdir()) == []


def test_without_onnx_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(to_onnx, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'--to onnx needs onnx and onnxscript, .*: pip install "mmcl\[onnx\]"'):
        check_onnx_is_installed()


def test_without_onnxruntime_it_is_written_and_not_compared(tokenizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(to_onnx, "find_spec", lambda name: None if name == "onnxruntime" else object())
    check = verify_onnx(Path("nowhere"), build_model(lone_text(tiny.STATIC, tokenizer)))
    assert check.cosine is None
    assert "not compared: onnxruntime" in str(check)


def test_a_tokenizer_without_a_file_is_refused(
    open_clip_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_onnx, "check_onnx_is_installed", lambda: None)
    model = build_model(ModelConfig(name=open_clip_name, pretrained=False))
    with pytest.raises(UserError, match=r"its tokenizer has no tokenizer.json"):
        export_to_onnx(model, tmp_path / "x", "x")
    assert list(tmp_path.iterdir()) == []

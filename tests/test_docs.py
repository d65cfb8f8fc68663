"""Every command, every piece of code, every recipe and every link in the README and the guides is tried."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from PIL import Image
from pydantic_core import PydanticUndefined
from transformers import AutoTokenizer, BertConfig, BertModel

import mmcl
from mmcl.cli.launch import launch
from mmcl.cli.main import app, main
from mmcl.recipe import Recipe
from mmcl.recipe_files import load_recipe
from mmcl.recipe_model import ModelConfig
from mmcl.recipe_schema import recipe_schema
from mmcl.recipe_sections import paths_of_fields
from mmcl.section import Section
from mmcl.study_config import read_study
from mmcl.suites import load_suite
from tests import documents
from tests.data.builders import class_samples, write_benchmark
from tests.documents import ROOT, Block, Command, blocks, commands
from tests.names_in_docs import ALL_KEYS, ALL_VALUES, OTHER_NAMES, REFERENCE
from tests.text.hard_lines import sentences
from tests.tiny import WORDS, save_tokenizer

# All in one worker, because they share one run.
pytestmark = pytest.mark.xdist_group("docs")

CLIP = "openai/clip-vit-base-patch32"
BERT = "google-bert/bert-base-uncased"
LANGUAGES = {"console", "python", "yaml", "sh", "text"}
VECTORS = "vectors.parquet"
EMBED = ["runs/products", "products.csv", "--what", "image", "--image", "image_path", "--id", "product_id"]
SMALL = ["batch_size=8", "max_steps=2", "data.num_workers=0"]


def save_clip(folder: Path, tokenizer: str) -> None:
    """Save a CLIP of a few thousand weights where a recipe looks for a model before it asks the hub."""
    from mmcl.export.forms import write_form
    from mmcl.model import build_model

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    vision, text = {**sizes, "image_size": 16, "patch_size": 8}, {**sizes, "max_position_embeddings": 32}
    config = {"model_type": "clip", "projection_dim": 8, "vision_config": vision, "text_config": text}
    folder.mkdir(parents=True)
    write_form(build_model(ModelConfig(config=config, tokenizer=tokenizer)), folder, "joint")


def save_bert(folder: Path, tokenizer: str) -> None:
    """Save a BERT of a few thousand weights in the same way."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    backend = AutoTokenizer.from_pretrained(tokenizer)
    BertModel(BertConfig(vocab_size=len(backend), max_position_embeddings=64, **sizes)).save_pretrained(folder)
    backend.save_pretrained(folder)


def save_picture(path: Path, number: int, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = (37 * number % 256, 91 * number % 256, 53 * number % 256, 128)[: len(mode)]
    Image.new(mode, (20, 18), colour).save(path)


def caption(number: int) -> str:
    return " ".join(WORDS[(number * 3 + offset * 5) % len(WORDS)] for offset in range(2 + number % 3))


def save_data(folder: Path) -> None:
    """Save the data that the documents speak of, each kind a handful."""
    import tarfile

    lines = ["image_path,title,product_id,category"]
    for row in range(60):
        save_picture(folder / f"images/{row}.jpg", row % 40)
        lines.append(f"images/{row}.jpg,{caption(row % 40)},{row % 40},{WORDS[row % 3]}")
    (folder / "products.csv").write_text("\n".join(lines) + "\n")
    graded = [f"{caption(row)},{caption(row + 1)},{row / 4}" for row in range(20)]
    (folder / "sts.csv").write_text("\n".join(graded) + "\n")
    (folder / "support").mkdir()
    for number in range(2):
        (folder / f"support/{number}.txt").write_text("".join(f"{caption(row)} {row}\n" for row in range(20)))
    # The same, but every fifth row has no title.
    partly = [re.sub(r",.*?,", ",,", line, count=1) if row % 5 == 1 else line for row, line in enumerate(lines)]
    (folder / "catalogue.csv").write_text("\n".join(partly) + "\n")
    graded = [f"{caption(row)},{caption(row + row % 3)},{5 - row % 3}" for row in range(40)]
    (folder / "similarity.csv").write_text("\n".join(graded) + "\n")
    asked = [f"{caption(row)},{caption(row + 1)},{caption(row + 7)}" for row in range(20)]
    (folder / "questions.csv").write_text("\n".join(["question,answer,wrong", *asked]) + "\n")
    save_texts(folder)
    chosen = [
        f"images/{row}.jpg,{caption(row)},{caption(row + 1)},{('swap_obj', 'add_att')[row % 2]}" for row in range(20)
    ]
    (folder / "sugarcrepe.csv").write_text("\n".join(["image,caption,wrong,kind", *chosen]) + "\n")
    pairs = [f"images/{row}.jpg,{caption(row)},{row // 2}" for row in range(20)]
    (folder / "winoground.csv").write_text("\n".join(["image,caption,example", *pairs]) + "\n")
    for number, name in enumerate(("cat", "dog", "hat", "shirt", "shoe") * 4):
        save_picture(folder / f"photos/{'test' if number < 10 else 'train'}/{name}/{number}.jpg", number)
    for artist in ("noto", "emojitwo"):
        lines = []
        for row in range(16):
            save_picture(folder / f"emoji/{artist}/{row}.png", row, "RGBA")
            lines.append(json.dumps({"file_name": f"{row}.png", "text": caption(row), "concept": str(row % 12)}))
        (folder / f"emoji/{artist}/metadata.jsonl").write_text("\n".join(lines) + "\n")
    write_benchmark(folder / "copies/wds_vtab-pets", [class_samples(0, 1, 1, 0, 1)])
    (folder / "names.txt").write_text("kitten\npuppy\nhat\nshirt\nshoe\n")
    (folder / "corpus.txt").write_text("\n".join(sentences(600, seed=1)), encoding="utf-8")
    (folder / "reviews.csv").write_text("\n".join(["stars,body", *(f"5,{caption(row)}" for row in range(60))]))
    (folder / "shards").mkdir()
    for number, shard in enumerate(("train-00000", "train-00001", "validation")):
        with tarfile.open(folder / f"shards/{shard}.tar", "w") as archive:
            for row in range(12 * number, 12 * number + 12):
                archive.add(folder / f"images/{row}.jpg", f"{row}.jpg")
                for column, text in (("txt", caption(row)), ("group.txt", str(row))):
                    (folder / "cell.txt").write_text(text)
                    archive.add(folder / "cell.txt", f"{row}.{column}")


def save_texts(folder: Path) -> None:
    """Save plain lines, and graded pairs to learn from and to judge by."""
    (folder / "support.txt").write_text("".join(f"{caption(row)}\n" for row in range(40)))
    graded = [f"{caption(row)},{caption(2 * row + 1)},{row % 6}\n" for row in range(48)]
    for name, rows in (("train", graded[:24]), ("dev", graded[24:])):
        (folder / f"graded-{name}.csv").write_text("".join(["first,second,score\n", *rows]))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader of the documents has: data, models from the hub, finished runs of products.yaml and of
    sentences.yaml, vectors of the first."""
    folder = tmp_path_factory.mktemp("docs")
    save_clip(folder / CLIP, save_tokenizer(folder / "words"))
    save_bert(folder / BERT, str(folder / "words"))
    save_data(folder)
    (readme,) = (block for block in blocks("yaml") if block.document.name == "README.md")
    (folder / "products.yaml").write_text(readme.text)
    (sentences,) = (block for block in blocks("yaml") if block.file_name == "sentences.yaml")
    (folder / "sentences.yaml").write_text(sentences.text)
    here = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["train", "products.yaml", *SMALL]) == 0
        assert main(["train", "sentences.yaml", *SMALL]) == 0
        assert main(["embed", *EMBED, "-o", VECTORS]) == 0
    finally:
        os.chdir(here)
    return folder


@pytest.fixture
def reader(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Block], None]:
    """Stand where a reader of a block stands: in a copy of the prepared folder, with the files of its document."""

    def stand(block: Block) -> None:
        folder = tmp_path / "folder"
        shutil.copytree(prepared, folder)
        monkeypatch.chdir(folder)
        if block.language == "console":  # which writes them; code reads them
            Path(VECTORS).unlink()
        for other in blocks("yaml"):
            if other.document == block.document and other.file_name:
                Path(other.file_name).write_text(other.text, encoding="utf-8")
        for written in re.findall(r"^wrote (\S+), based on", block.text, re.MULTILINE):
            Path(written).unlink(missing_ok=True)

    def launch_fewer(arguments: list[str], num_processes: int) -> int:
        # A whole run that is shown with eight processes is done by two; anything else, by this one.
        is_whole = num_processes == 8 and not {"--dry-run", "--resume"} & set(arguments)
        return launch(arguments, 2) if is_whole else main(arguments)

    train = mmcl.train
    monkeypatch.setattr(mmcl, "train", lambda recipe, **given: train(recipe, **{**given, **small_overrides()}))
    monkeypatch.setattr("mmcl.cli.launch.launch", launch_fewer)
    # How a model opens elsewhere is for tests/export; here it is seen once, in the prepared run.
    monkeypatch.setattr("mmcl.export.export.verify_export", lambda folder, model, form: ())
    # t-SNE would be most of the time.
    monkeypatch.setattr("evaluation.report.embedding_map._MIN_POINTS_FOR_TSNE", 10**6)
    return stand


def small_overrides() -> dict[str, int]:
    return {key: int(value) for key, value in (override.split("=") for override in SMALL)}


def made_small(arguments: list[str]) -> list[str]:
    """Make a training command fit little data and finish in a second; what it says of data and columns stays."""
    if arguments[:2] == ["tokenizer", "train"]:
        return [*arguments, "--vocab-size", "450"]
    if arguments[0] != "train" or "--resume" in arguments or "--smoke" in arguments:
        return arguments
    has_data = any(argument.startswith("data") for argument in arguments)
    kind = arguments[1].partition("/")[0]
    if kind == "vision":  # pictures that come with mmcl
        return [*arguments, *SMALL, "evaluate=[]"]
    if kind == "text":
        return [*arguments, "--smoke"]
    if arguments[1] == "clip/pretrain" or kind == "joint" or (arguments[1] == "quickstart" and not has_data):
        return [*arguments, "--smoke", "evaluate=[retrieval]"]
    return [*arguments, *SMALL]


def check(command: Command, capfd: pytest.CaptureFixture[str]) -> None:
    program, *arguments = shlex.split(command.line)
    assert program == "mmcl", f"only mmcl is run, got: {command.line}"
    capfd.readouterr()
    code = main(made_small(arguments))
    printed = "".join(capfd.readouterr())
    assert code == command.exit_code, f"$ {command.line}\n{printed}"
    assert command.missing_from(printed) == [], f"$ {command.line}\n{printed}"


@pytest.mark.parametrize("block", blocks("console"), ids=str)
def test_commands_do_what_is_shown(
    block: Block, reader: Callable[[Block], None], capfd: pytest.CaptureFixture[str]
) -> None:
    if "--to onnx" in block.text and find_spec("onnxscript") is None:
        pytest.skip('needs "mmcl[onnx]"')
    if "mteb:" in block.text and find_spec("mteb") is None:
        pytest.skip('needs "mmcl[mteb]"')
    reader(block)
    found = commands(block.text)
    assert found
    for command in found:
        check(command, capfd)


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_code_runs(block: Block, reader: Callable[[Block], None]) -> None:
    reader(block)
    padded = "\n" * (block.line - 1) + block.text  # so that a traceback names the line of the document
    # Without the __future__ of this file, which a reader's has not.
    exec(compile(padded, str(block.document), "exec", dont_inherit=True), {"__name__": "docs"})


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_recipes_are_valid(block: Block, tmp_path: Path) -> None:
    if block.file_name != "wrong.yaml":
        (tmp_path / "recipe.yaml").write_text(block.text, encoding="utf-8")
        if block.file_name == "suite.yaml":
            load_suite(str(tmp_path / "recipe.yaml"))
            return
        is_study = block.text.partition("\n")[2].startswith("models:")
        (read_study if is_study else load_recipe)(tmp_path / "recipe.yaml")


@pytest.mark.parametrize("block", blocks("sh"), ids=str)
def test_commands_that_are_not_run_can_be_parsed(block: Block) -> None:
    makefile = (ROOT / "Makefile").read_text()
    rules = re.findall(r"^([a-z -]+):", makefile, re.MULTILINE)
    targets = " ".join(rules).split()
    for line in block.text.splitlines():
        words = shlex.split(line, comments=True)
        if words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= set(targets)
            assert all(f"$({word.split('=')[0]})" in makefile for word in words[1:] if "=" in word)
        elif "mmcl" in words:
            parse(words[words.index("mmcl") + 1 :])
        elif words[0] == "python":
            assert (ROOT / words[1]).is_file()
        else:
            assert words[0] == "pip"


def parse(arguments: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command, *arguments = command.commands[arguments[0]], *arguments[1:]
    command.make_context("mmcl", arguments)


def known_options(command: Any) -> set[str]:
    inner = getattr(command, "commands", {}).values()
    return {option for one in inner for option in known_options(one)} | {
        option for parameter in command.params for option in parameter.opts
    }


@pytest.mark.parametrize("document", documents.DOCUMENTS, ids=lambda path: path.name)
def test_options_keys_and_names_in_prose_exist(document: Path) -> None:
    options = known_options(typer.main.get_command(app)) | {"--help"}
    paths = {".".join(map(str, path)) for path in paths_of_fields()}
    for span in documents.code_spans(document):
        if span.startswith("--"):
            assert span.split()[0] in options, span
        key = re.match(r"([a-z_0-9.]+)(: |=(?!\")|$)", span)
        if key is None or Path(key[1]).suffix in {".yaml", ".jsonl", ".html", ".json", ".csv", ".py"}:
            continue
        if "." in key[1] and key[1].split(".")[0] in Recipe.model_fields:
            assert key[1] in paths, f"{span}: no such key"
        elif "." not in key[1] and (key[2] or "_" in key[1]):
            assert key[1] in ALL_KEYS | ALL_VALUES | OTHER_NAMES, f"{span}: no such key"


@pytest.mark.parametrize("document", documents.DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", documents.prose(document)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), target
        assert not anchor or anchor in documents.anchors(file), target


def test_the_reference_has_every_section() -> None:
    assert {section.__name__ for section in REFERENCE.values()} == {"Recipe", "StudyConfig", *recipe_schema()["$defs"]}


@pytest.mark.parametrize("heading", REFERENCE)
def test_the_reference_has_every_key_with_its_default(heading: str) -> None:
    rows = documents.table_below(ROOT / "docs/recipe-keys.md", heading)
    assert [row[0] for row in rows] == list(REFERENCE[heading].model_fields)
    for name, default, meaning in rows:
        given = REFERENCE[heading].model_fields[name].get_default()
        assert (default == "required") == (given is PydanticUndefined)
        assert meaning
        if default != "required":
            assert yaml.safe_load(default) == plain(given), name


def plain(default: Any) -> Any:
    if isinstance(default, Section):
        return default.model_dump(mode="json", exclude_unset=True)
    return [plain(item) for item in default] if isinstance(default, tuple) else default


def test_a_command_that_fails_or_prints_something_else_is_noticed(capfd: pytest.CaptureFixture[str]) -> None:
    check(Command("mmcl recipes list", ("quickstart   ...", "...")), capfd)
    for line, shown in [("lisst", ()), ("list", ("quickest ...",)), ("list", ("error: none",)), ("list --jsn", ())]:
        with pytest.raises(AssertionError):
            check(Command(f"mmcl recipes {line}", shown), capfd)


@pytest.mark.parametrize("document", documents.DOCUMENTS, ids=lambda path: path.name)
def test_nothing_goes_untried(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    fences = re.findall(r"^[ \t]*```.*$", text, re.MULTILINE)
    assert {fence.removeprefix("```") for fence in fences[::2]} <= LANGUAGES
    assert set(fences[1::2]) <= {"```"}
    inside = [block for block in blocks("console") if block.document == document]
    prompts = re.findall(r"^[ \t]*\$ (.+)$", text, re.MULTILINE)
    assert [command.line for block in inside for command in commands(block.text)] == prompts


def test_what_the_readme_says_of_the_quickstart_is_so() -> None:
    from mmcl.model import build_model

    recipe = load_recipe("quickstart")
    assert recipe.max_steps is not None
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"see {recipe.max_steps * recipe.batch_size:,} drawings" in text
    num_parameters = sum(parameter.numel() for parameter in build_model(recipe.model).parameters())
    assert f"{num_parameters / 1e6:.1f} million parameters" in text
    for task in recipe.evaluate:
        assert f"| {task.name} |" in text

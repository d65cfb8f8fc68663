from __future__ import annotations

from pathlib import Path

import pytest

from mmcl.errors import UserError
from mmcl.recipe_tasks import KNNConfig, RetrievalConfig
from mmcl.study_config import StudyConfig, read_study, study_of


def written(folder: Path, text: str) -> Path:
    (folder / "paper.yaml").write_text(text)
    return folder / "paper.yaml"


def test_a_study_is_read_as_a_recipe_is_short_forms_too(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """models: ["ViT-B-32,openai", runs/products]
evaluate: [retrieval, {task: knn, train: x.csv, data: y.csv}]
data: products.csv
columns: {image: image_path}
output: results/paper
""",
    )
    study = read_study(path, {"limit": 5, "output": None})
    assert study.models == ("ViT-B-32,openai", "runs/products")
    assert [type(task) for task in study.evaluate] == [RetrievalConfig, KNNConfig]
    assert study.data is not None
    assert (study.data.path, study.columns.image, study.limit, study.output) == ("products.csv", "image_path", 5, None)


def test_all_mistakes_are_told_with_their_lines_and_the_nearest_name(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """model: [a]
suit: quick
evaluate:
  - retreival
  - {task: knn, kk: 3}
limit: 0
baselines: 3
resident: true
""",
    )
    with pytest.raises(UserError) as error:
        read_study(path)
    for line in (
        ':1 model: unknown key. Did you mean "models"?',
        ":1 models: is required",
        ':2 suit: unknown key. Did you mean "suite"?',
        ':4 evaluate.0: unknown name "retreival"',
        ':5 evaluate.1.kk: unknown key. Did you mean "k"?',
        ":6 limit: must be > 0, got 0",
        ":7 baselines: must be true or false, got 3",
        ":8 resident: must be a number, got true",
    ):
        assert f"{path}{line}" in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [a, a]\nsuite: quick\n", 'models: must be all different, got "a" twice'),
        ("models: [a]\n", "nothing to judge by: give suite, evaluate, or tasks and data"),
        ("models: []\nsuite: quick\n", "models: must have at least one entry"),
        ("- a\n", "a study is a mapping"),
        ("models: [\n", "not valid YAML"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        read_study(written(tmp_path, text))
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_file_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*none\.yaml: No such file"):
        read_study(tmp_path / "none.yaml")


def test_embeddings_are_kept_in_the_output_unless_told_otherwise() -> None:
    def folder(**keys: object) -> Path | None:
        return study_of({"models": ["a"], "suite": "quick", **keys}).cache_folder

    assert folder() is None
    assert folder(output="x") == Path("x/cache")
    assert folder(output="x", cache=False) is None
    assert folder(output="x", cache="y") == folder(cache="y") == Path("y")
    assert folder(output="x", cache="y", limit=3) is None, "the first rows are no whole data"


def test_python_values_are_taken_as_yaml_is() -> None:
    study = study_of({"models": ["a"], "evaluate": ["retrieval"], "data": Path("x.csv")})
    assert isinstance(study, StudyConfig)
    assert study.data is not None
    assert study.data.path == "x.csv"
    with pytest.raises(UserError, match=r'study sute: unknown key\. Did you mean "suite"'):
        study_of({"models": ["a"], "sute": "quick"})

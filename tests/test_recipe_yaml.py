"""YAML that remembers where every value was written."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mmcl.errors import UserError
from mmcl.recipe_yaml import OVERRIDE, Node, Origin, Problem, at_origin, read_value, read_yaml, write_yaml


def read(text: str) -> Node:
    node, problems = read_yaml(text, "f.yaml")
    assert not problems
    return node


@pytest.mark.parametrize("text", ["1e-5", "1.0e-5", "1E-5", "+1e-5", "0.1e-4", ".1e-4", "1_0e-6", "1.e-5"])
def test_exponents_are_numbers(text):
    assert read(f"a: {text}").plain() == {"a": pytest.approx(1e-5, rel=1e-12)}


@pytest.mark.parametrize(
    ("text", "value"),
    [("2024-01-01", "2024-01-01"), ("0x1", 1), ("1e", "1e"), ("e5", "e5"), ("2%", "2%"), ("~", None), ("yes", True)],
)
def test_scalars(text, value):
    assert read(f"a: {text}").plain() == {"a": value}


def test_keys_are_text_as_written():
    assert read("{no: 1, 007: 2, 1.50: 3, 2024-01-01: 4}").plain() == {"no": 1, "007": 2, "1.50": 3, "2024-01-01": 4}


def test_every_value_knows_the_line_of_its_key():
    root = read("a:\n  b: 1\n  c:\n    - x\n    - y: 2\nd: {e: 3}\n")
    lines = {
        path: root.nearest(path).origin.line for path in [("a", "b"), ("a", "c"), ("a", "c", 0), ("a", "c", 1, "y")]
    }
    assert lines == {("a", "b"): 2, ("a", "c"): 3, ("a", "c", 0): 4, ("a", "c", 1, "y"): 5}
    assert str(root.nearest(("d", "e")).origin) == "f.yaml:6"
    assert str(root.nearest(("d", "e", "nothing", 3)).origin) == "f.yaml:6"


def test_a_key_given_twice_is_told_with_both_lines():
    _, problems = read_yaml("a: 1\nb: {c: 1,\n  c: 2}\na: 3\n", "f.yaml")
    assert [str(problem) for problem in problems] == [
        "f.yaml:4 a: the key is given twice, first in line 1",
        "f.yaml:3 b.c: the key is given twice, first in line 2",
    ]


def test_merge_keys_and_aliases_work_and_are_no_duplicates():
    root = read("a: &x {p: 1, q: 2}\nb:\n  <<: *x\n  q: 3\nc:\n  <<: *x\nd: *x\n")
    assert root.plain()["b"] == {"p": 1, "q": 3}
    assert root.plain()["c"] == root.plain()["d"] == {"p": 1, "q": 2}
    twice = read("a: &x {p: 1}\nb: &y {<<: *x, p: 2}\nc: *y\n")
    assert twice.plain()["b"] == twice.plain()["c"] == {"p": 2}


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!binary", "!!timestamp", "!mine"])
def test_foreign_tags_are_refused(tag):
    _, problems = read_yaml(f"a: {tag} aGk=", "f.yaml")
    assert len(problems) == 1
    assert "is not allowed" in problems[0].message


def test_a_mapping_as_a_key_is_refused():
    _, problems = read_yaml("? {a: 1}\n: 2\nb: 1", "f.yaml")
    assert [str(problem) for problem in problems] == ["f.yaml:1: a key must be text"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b: c", "f.yaml:1: not valid YAML: mapping values are not allowed here"),
        ("a: 1\n\tb: 2", "f.yaml:2: not valid YAML: found character"),
        ("a: 1\n---\nb: 2", "f.yaml:2: not valid YAML: but found another document"),
        ("a: *x", "f.yaml:1: not valid YAML: found undefined alias"),
        ("a: \x00", "f.yaml: not valid YAML: unacceptable character"),
        ("a: &x [*x]", "f.yaml: not a recipe: nested too deeply"),
        ("[" * 3000, "f.yaml: not a recipe: nested too deeply"),
    ],
)
def test_what_is_not_yaml_is_one_message_with_its_line(text, message):
    with pytest.raises(UserError) as caught:
        read_yaml(text, "f.yaml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_aliases_cannot_fill_the_memory():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    with pytest.raises(UserError, match="more than 100,000 values"):
        read_yaml("\n".join(lines), "f.yaml")


def test_nothing_is_an_empty_mapping():
    assert read("# only a comment").plain() == {}


VALUES = {
    "strings": ["1e-5", "1.0e-05", "no", "2024-01-01", "1", "null", "", "a: b", "*.csv", "~", "<<", "=", "é", "1_000"],
    "numbers": [1e-05, 1e22, 0.1, 3, -1, True, None],
    "007": {"yes": 1, "1e3": 2},
}


def test_written_yaml_reads_back_equal():
    assert read(write_yaml(VALUES)).plain() == VALUES


def test_written_yaml_reads_back_equal_elsewhere():
    assert yaml.safe_load(write_yaml(VALUES)) == VALUES


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("64", 64),
        ("true", True),
        ("", None),
        ("null", None),
        ("[a, 1]", ["a", 1]),
        ("{a: 1e-5}", {"a": 1e-5}),
        ("'5'", "5"),
        ('"\\t"', "\t"),
        ("*.csv", "*.csv"),
        ("|", "|"),
        (",", ","),
        ("#", "#"),
        ("a: b", "a: b"),
        ("2%", "2%"),
        ("=", "="),
        ("<<", "<<"),
        ("09", "09"),
    ],
)
def test_values_of_overrides(text, value):
    node, problems = read_value(text, "override k=v")
    assert (node.plain(), problems) == (value, [])
    assert node.origin.layer == OVERRIDE


def test_a_broken_override_is_a_problem_that_quotes_it():
    _, problems = read_value("[1", "override lr=[1")
    assert len(problems) == 1
    assert str(problems[0]).startswith("override lr=[1: not valid YAML")


def test_python_values_become_nodes():
    origin = Origin("override x")
    assert at_origin({"a": (1, Path("x.csv")), 2: None}, origin).plain() == {"a": [1, "x.csv"], "2": None}


def test_a_problem_names_its_key_once():
    override = Origin("override lr=-1", None, OVERRIDE)
    assert str(Problem(override, ("lr",), "must be > 0")) == "override lr=-1: must be > 0"
    assert str(Problem(override, ("data", "train"), "is required")) == "override lr=-1 data.train: is required"

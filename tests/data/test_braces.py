from __future__ import annotations

import pytest

from mmcl.data.braces import expand_braces


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("a-{008..011}.tar", ["a-008.tar", "a-009.tar", "a-010.tar", "a-011.tar"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{cats,dogs}-{0..1}.tar", ["cats-0.tar", "cats-1.tar", "dogs-0.tar", "dogs-1.tar"]),
        ("{a,}b", ["ab", "b"]),
        ("odd{name}.tar", ["odd{name}.tar"]),
        ("odd{}.tar", ["odd{}.tar"]),
        ("half{0..1.tar", ["half{0..1.tar"]),
    ],
)
def test_braces_stand_for_names_as_in_a_shell(pattern: str, names: list[str]) -> None:
    assert expand_braces(pattern) == names

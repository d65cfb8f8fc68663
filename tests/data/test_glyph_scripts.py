from __future__ import annotations

import pytest

from mmcl.data.glyph_scripts import SCRIPTS, SYMBOL, script_of


@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("latin small letter a", "latin"),
        ("coptic small letter fei", "greek"),
        ("extended arabic-indic digit three", "arabic"),
        ("arabic-indic digit three", "arabic"),
        ("canadian syllabics carrier tlhe", "canadian syllabics"),
        ("modifier letter small h", "modifier letter"),
        ("box drawings light horizontal", "box drawings"),
        ("apl functional symbol quad", "apl functional symbol"),
        ("apl tools", SYMBOL),
        ("rightwards arrow", "arrow"),
        ("upwards paired arrows", "arrow"),
        ("modifier letter up arrowhead", "modifier letter"),
        ("black chess knight", SYMBOL),
        ("script capital b", SYMBOL),
    ],
)
def test_the_leading_words_of_a_name_tell_its_script(name, script):
    assert script_of(name) == script


def test_classes_have_distinct_names_that_lead_to_themselves():
    assert len(set(SCRIPTS)) == len(SCRIPTS)
    assert [script_of(script) for script in SCRIPTS] == list(SCRIPTS)

"""English and Chinese lines that are hard to cut: emoji, full-width forms, marks, look-alikes of special tokens."""

from __future__ import annotations

import random

_ENGLISH_TEXT = """
the a of to and in is was it he she we they you not have with on for this that at from by are but what when where who
why how can could would should there here now then never always small large old new young good bad cold warm house
street city river mountain train ticket window kitchen table bread coffee water night morning yesterday walked asked
answered bought found forgotten running reading together nothing everything children teacher doctor Tom's don't I'm
well-known 3.14 1,000 U.S.A. e-mail John Paris Monday unbelievable internationally
"""
_CHINESE_TEXT = """
我 你 他 我们 他们 这 那 是 不是 有 没有 在 的 了 吗 和 很 都 也 就 还 要 会 能 可以 应该 想 知道 喜欢 觉得 学习 工作
学校 老师 学生 朋友 孩子 医生 城市 街道 房子 窗户 桌子 面包 咖啡 水 火车 票 飞机 天气 今天 昨天 明天 早上 晚上 已经 正在
一起 东西 问题 时间 中国 北京 英语 汉语 漂亮 便宜 高兴 寒冷 跑步 读书 看电视 打电话 買 學 們 這 國 電視 誰 說話
"""
_ENGLISH, _CHINESE = _ENGLISH_TEXT.split(), _CHINESE_TEXT.split()
_POOLS = (
    # joined by zero-width joiners, flags, skin tones, variation selectors, key caps, tags
    [
        "👨‍👩‍👧‍👦",
        "🏳️‍🌈",
        "🇨🇳",
        "🇬🇧",
        "👍🏽",
        "👩🏿‍🚀",
        "❤️",
        "❤️‍🔥",
        "1️⃣",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "🎉🎉",
    ],
    [
        "ＡＢＣ",
        "１２３",
        "（",
        "）",
        "，",
        "！",
        "？",
        "～",
        "￥",
        "①",
        "㎏",
        "ﬁ",
        "㍿",
        "ﷺ",
        "Ⅷ",
        "ｈｔｔｐ：",
        "ｶﾞｷﾞ",
        "ﾊﾟ",
    ],
    ["<s>", "</s>", "<unk>", "<pad>", "<0x41>", "<0xE4>", "▁", "▁▁a", "<mask>", "[CLS]", "</s><s>", "<<s>"],
    [
        "e\u0301",
        "a\u0308",
        "กำ",
        "\u0301",
        "x\u0335",
        "q\u0323\u0307",
        "ㅎㅏㄴ",
        "\u1112\u1161\u11ab",
        "か\u3099",
        "A\u030c",
    ],
    [
        "\u200b",
        "\u200c",
        "\u200d",
        "\u2060",
        "\ufeff",
        "\u00ad",
        "\u200e",
        "\u202e",
        "\x01\x01",
        "\x7f",
        "\ufe0f",
        "\ufffd",
    ],
    [" ", "  ", "\t", "\u3000", "\u00a0", "\n", "\r\n", "\u2009", "\u2028", "\x85", "\t\t "],
)


def sentences(num: int, seed: int) -> list[str]:
    """Return plain lines, English and Chinese in turns: what a vocabulary is trained on."""
    random_source = random.Random(seed)
    found = []
    for number in range(num):
        is_english = number % 2 == 0
        words = random_source.choices(_ENGLISH if is_english else _CHINESE, k=random_source.randint(3, 12))
        found.append(
            (" " if is_english else "").join(words) + random_source.choice((".", "?", "!") if is_english else "。？！")
        )
    return found


def hard_lines(num: int, seed: int) -> list[str]:
    """Return lines of which every second one mixes words with hard pieces, with and without spaces between."""
    random_source = random.Random(seed)
    pools = (_ENGLISH, _ENGLISH, _CHINESE, _CHINESE, *_POOLS)
    # The last three are those that are known to be cut otherwise than by SentencePiece.
    mixed = ["", "q\u0307\u0323 house", "Ⅷ\u0301 中", "\ufffd\u0301"]
    for _ in range(num // 2):
        line = random_source.choice(("", " ", "  ", "\t", "\u3000"))
        for _ in range(random_source.randint(0, 9)):
            line += random_source.choice(random_source.choice(pools)) + random_source.choice((" ", " ", "  ", "", ""))
        mixed.append(line)
    alone = [
        before + piece + after for pool in _POOLS for piece in pool for before in ("", " ", "a") for after in ("", "中")
    ]
    return [*mixed, *alone, *sentences(num - len(mixed) - len(alone), seed + 1)]

"""The folder of a trained tokenizer: what ``AutoTokenizer`` loads, how it was trained, and its figures."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

import sentencepiece
import yaml
from pydantic import Field
from transformers import PreTrainedTokenizerFast

from mmcl.errors import UserError, writing
from mmcl.text.figures import TokenizerFigures
from mmcl.text.sentencepiece import SentencePieceConfig

SETTINGS_FILE = "training.yaml"


class TrainingRecord(SentencePieceConfig):
    """How a tokenizer was trained: with the same sources it comes out the same."""

    sources: tuple[str, ...] = ()
    """What was read, as it was given."""
    columns: tuple[str, ...] = ()
    """Columns of the texts that were named; none where there was no choice."""
    reading: dict[str, str] = Field(default_factory=dict)
    """How the sources were read, where that was said: split, config, format, delimiter."""
    num_read: int = Field(default=0, ge=0)
    """Texts that the sources hold, empty ones left out."""
    num_texts: int = Field(default=0, ge=0)
    """Texts that the vocabulary was trained on: all, or a sample."""
    seed: int = 0
    """Of the sample."""
    sentencepiece_version: str = sentencepiece.__version__
    """Of the library that trained the vocabulary."""

    @property
    def sample(self) -> int | None:
        """How many texts were drawn; None for all."""
        return self.num_texts if self.num_texts < self.num_read else None


def check_is_new(folder: Path) -> None:
    """Refuse to write where something is.

    Raises:
        UserError: the folder is a file, or not empty.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(f"{folder} is there and not empty, and is left as it is; name another folder")


def write_tokenizer(
    folder: Path, tokenizer: PreTrainedTokenizerFast, record: TrainingRecord, figures: TokenizerFigures
) -> None:
    """Write a tokenizer, its ``training.yaml`` and its ``README.md`` into a new folder.

    Raises:
        UserError: something is there already, or it cannot be written.
    """
    check_is_new(folder)
    settings = yaml.safe_dump(record.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer.save_pretrained(folder)
        (folder / SETTINGS_FILE).write_text(f"# How this tokenizer was trained.\n{settings}", encoding="utf-8")
        (folder / "README.md").write_text(_readme(folder, record, figures), encoding="utf-8")


def figures_table(rows: Iterable[tuple[str, TokenizerFigures]]) -> str:
    """Return a table in Markdown, one row for each name and its figures."""
    head = (
        "| texts | number | tokens per text | tokens per word | tokens per character | longest | bytes | round trip |"
        " mismatch |\n|---|---|---|---|---|---|---|---|---|"
    )
    return "\n".join([head, *(f"| {name} | {' | '.join(_cells(figures))} |" for name, figures in rows)])


def _cells(figures: TokenizerFigures) -> tuple[str, ...]:
    return (
        f"{figures.num_texts:,}",
        f"{figures.tokens_per_text:.2f}",
        "" if figures.fertility is None else f"{figures.fertility:.2f}",
        "" if figures.tokens_per_character is None else f"{figures.tokens_per_character:.2f}",
        str(figures.longest),
        "" if figures.byte_share is None else f"{figures.byte_share:.2%}",
        f"{figures.round_trip:.2%}",
        "" if figures.mismatch is None else f"{figures.mismatch:.2%}",
    )


def _readme(folder: Path, record: TrainingRecord, figures: TokenizerFigures) -> str:
    sources = ", ".join(f"`{source}`" for source in record.sources)
    of_columns = f" (columns {', '.join(record.columns)})" if record.columns else ""
    drawn = f", drawn evenly from {record.num_read:,} with seed {record.seed}," if record.sample else ""
    kind = "likeliest pieces (unigram)" if record.model_type == "unigram" else "byte-pair merges (BPE)"
    return f"""# {folder.resolve().name}

A tokenizer of {record.vocab_size:,} pieces, cut by {kind}, trained with SentencePiece
{record.sentencepiece_version}. What it has no piece for, it spells in bytes.

**Corpus.** {record.num_texts:,} texts{drawn} of {sources}{of_columns}.

**Settings.** [`{SETTINGS_FILE}`]({SETTINGS_FILE}). Ids 0 to 3 are padding, unknown (never produced), begin and end;
a text is put between begin and end.

**Figures.** Without begin and end. Tokens per word are those of scripts with spaces between words, tokens per character
those of scripts without; bytes are the share of tokens that spell a single byte; round trip is the share of texts that
come back as they were normalised; mismatch the share that SentencePiece itself cuts otherwise.

{figures_table([("trained on", figures)])}

**Made by**

```sh
{training_command(folder, record)}
```
"""


def training_command(folder: Path, record: TrainingRecord) -> str:
    """Return the command that trains the tokenizer again; what is as by default is left out."""
    options = [("--output", folder.name)]
    for name, field in SentencePieceConfig.model_fields.items():
        value = getattr(record, name)
        if name == "user_symbols":
            options += [("--user-symbol", symbol) for symbol in value]
        elif value != field.default:
            options.append((f"--{name.replace('_', '-')}", str(value)))
    options += [("--column", column) for column in record.columns]
    options += [(f"--{name}", value) for name, value in record.reading.items()]
    if record.sample:
        options += [("--sample", str(record.sample)), ("--seed", str(record.seed))]
    words = ["mmcl", "tokenizer", "train", *record.sources, *(word for option in options for word in option)]
    return shlex.join(words)

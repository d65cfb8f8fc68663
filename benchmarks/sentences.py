"""A step of unsupervised SimCSE, BERT-base in width and depth: sentence-transformers' trainer and ours, interleaved.

Both start from the same random weights and see the same sentences in the same batches: real ones, drawn so that their
mean is 16 tokens, up to 32, special ones included. Theirs is `SentenceTransformerTrainer` with its defaults and
`MultipleNegativesRankingLoss` on pairs (text, text); ours `Trainer.fit` with `simcse` without a head, which is the same
loss. Precision (float32), AdamW (fused), clipping, learning rate and schedule are the same. Theirs encodes either side
by itself, padded to the longest of the batch; ours both at once, in parts of like length.

    python -m benchmarks.sentences [--sentences FILE] [--batch-size 64] [--rounds 5] [--steps 2]

FILE has a sentence per line; without it, sentences of Python's own documentation will do. A round is a run of each
trainer, whose first step warms up and is not timed. Prints the first loss of both and the gradients' differences with
dropout off, tokens computed per real token, seconds per step, and the ratio by round.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import Tensor
from torch.utils.data import BatchSampler, SequentialSampler
from transformers import BertTokenizerFast, PreTrainedModel, PrinterCallback, TrainerCallback

from mmcl.data.loader import TrainData, build_train_data
from mmcl.export import ModelCardFacts, export_model
from mmcl.model import TwoTower, build_model
from mmcl.module import ContrastiveModule
from mmcl.recipe import Recipe
from mmcl.towers.single import SingleTower
from mmcl.training.accelerator import build_accelerator
from mmcl.training.observer import Observer
from mmcl.training.trainer import Trainer
from tokenizers import BertWordPieceTokenizer

MEAN_LENGTH, MAX_LENGTH = 16, 32
NUM_TOKENS = 30522
"""Of BERT's vocabulary; a file of few words makes a smaller one."""
Fit = Callable[[], list[float]]
"""Trains for a few steps; returns the seconds of each but the first."""


def read_sentences(path: Path | None) -> list[str]:
    """Return the lines of a file, or sentences of Python's documentation, each once."""
    if path is not None:
        lines = path.read_text(encoding="utf-8").splitlines()
    else:
        paragraphs = [" ".join(part.split()) for text in topics.values() for part in text.split("\n\n")]
        lines = [sentence for text in paragraphs for sentence in re.split(r"(?<=[.:;?!]) ", text)]
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))


def save_tokenizer(sentences: list[str], folder: Path) -> BertTokenizerFast:
    """Train BERT's kind of tokenizer on the sentences."""
    trained = BertWordPieceTokenizer(lowercase=True)
    trained.train_from_iterator(sentences, vocab_size=NUM_TOKENS, min_frequency=1, show_progress=False)
    tokenizer = BertTokenizerFast(tokenizer_object=trained._tokenizer, model_max_length=MAX_LENGTH)
    tokenizer.save_pretrained(folder)
    return tokenizer


def draw_sentences(sentences: list[str], tokenizer: BertTokenizerFast, num: int) -> list[str]:
    """Draw sentences of at most `MAX_LENGTH` tokens, longer ones the likelier the more it takes to reach the mean."""
    lengths = np.array([len(row) for row in tokenizer(sentences, verbose=False)["input_ids"]])
    few_enough = np.flatnonzero(lengths <= MAX_LENGTH)
    lengths, low, high = lengths[few_enough], -1.0, 1.0
    while high - low > 1e-6:
        slope = (low + high) / 2
        weights = np.exp(slope * (lengths - MEAN_LENGTH))
        low, high = (slope, high) if (weights * (lengths - MEAN_LENGTH)).sum() < 0 else (low, slope)
    chosen = np.random.default_rng(0).choice(len(lengths), num, replace=False, p=weights / weights.sum())
    print(f"{num} sentences, {lengths[chosen].mean():.1f} tokens in the mean, ", end="")
    print(f"{lengths[chosen].min()} to {lengths[chosen].max()}")
    return [sentences[few_enough[index]] for index in chosen]


@dataclass
class Counted:
    """How many tokens went through a model, and how many of them were no padding."""

    computed: int = 0
    real: int = 0

    def watch(self, model: PreTrainedModel) -> None:
        """Count from now on what a text model is given; at its token table, as theirs calls no model by its hooks."""
        table = model.get_input_embeddings()

        def add(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self.computed += inputs[0].numel()
            self.real += int((inputs[0] != table.padding_idx).sum())

        table.register_forward_pre_hook(add)

    def __str__(self) -> str:
        return f"{self.computed / self.real:.2f}"


class EnoughStepsError(Exception):
    """Leaves our loop before it would save a checkpoint, which is not what is measured."""


class Stopwatch(Observer):
    """Notes when each step of ours is done."""

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps
        self.times: list[float] = []

    def stepped(self, record: dict[str, Any]) -> None:
        self.times.append(time.perf_counter())
        if len(self.times) == self.num_steps:
            raise EnoughStepsError


class StopwatchCallback(TrainerCallback):
    """Notes when each step of theirs is done."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.times.append(time.perf_counter())


def make_recipe(folder: Path, batch_size: int, num_steps: int, num_layers: int) -> Recipe:
    text = {
        "config": {"model_type": "bert", "num_hidden_layers": num_layers},
        "tokenizer": str(folder / "tokenizer"),
        "pooling": "cls",
        "max_length": MAX_LENGTH,
    }
    fields = {
        "model": {"text": text},
        "data": {"train": str(folder / "sentences.txt"), "validation": 0},
        "objectives": [{"type": "simcse", "temperature": 0.05, "head": None}],
        "batch_size": batch_size,
        # One more than is done, so that the loop is left and not ended.
        "max_steps": num_steps + 1,
        "lr": 5e-5,
        "weight_decay": 0.0,
        "betas": [0.9, 0.999],
        "eps": 1e-8,
        "max_grad_norm": 1.0,
        "warmup_ratio": 0.0,
        "schedule": "linear",
        "precision": "fp32",
    }
    return Recipe.model_validate(fields)


def our_fit(recipe: Recipe, model: TwoTower, data: TrainData, num_steps: int) -> Fit:
    def fit() -> list[float]:
        watch = Stopwatch(num_steps)
        trainer = Trainer(recipe, model, data, None, build_accelerator(recipe), watch)
        with contextlib.suppress(EnoughStepsError):
            trainer.fit(lambda step: {})
        return np.diff(watch.times).tolist()

    return fit


def their_fit(model: SentenceTransformer, texts: list[str], batch_size: int, folder: Path) -> Fit:
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder / "theirs"),
        per_device_train_batch_size=batch_size,
        num_train_epochs=1,
        batch_sampler=lambda dataset, **_: BatchSampler(SequentialSampler(dataset), batch_size, drop_last=True),
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )

    def fit() -> list[float]:
        watch = StopwatchCallback()
        pairs = Dataset.from_dict({"anchor": texts, "positive": texts})
        loss = MultipleNegativesRankingLoss(model)
        trainer = SentenceTransformerTrainer(model, arguments, pairs, loss=loss, callbacks=[watch])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return np.diff(watch.times).tolist()

    return fit


def compare_without_dropout(recipe: Recipe, model: TwoTower, theirs: SentenceTransformer, data: TrainData) -> None:
    """Print the first loss of both, and how far apart gradients are, by the norm over all parameters."""
    batch = next(data.batches()).to(model.device)
    module = ContrastiveModule(model, recipe.chosen_objectives).eval()
    loss, gradient = differentiate(lambda: module(batch).loss, model)
    model.towers.skips_padding = False
    _, unsorted = differentiate(lambda: module(batch).loss, model)
    model.towers.skips_padding = True
    their_loss_of = MultipleNegativesRankingLoss(theirs.eval())
    tokens = batch.texts[0]
    sides = [{"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask} for _ in range(2)]
    their_loss, their_gradient = differentiate(lambda: their_loss_of(sides, None), theirs)
    apart = [float((gradient - other).norm() / other.norm()) for other in (unsorted, their_gradient)]
    print(f"without dropout: first loss {loss:.6f}, sentence-transformers {their_loss:.6f}; ", end="")
    print(f"gradient {apart[0]:.1e} from the unsorted one, {apart[1]:.1e} from theirs", flush=True)


def differentiate(forward: Callable[[], Tensor], model: torch.nn.Module) -> tuple[float, Tensor]:
    """Return a loss and its gradient as one vector; none is left behind."""
    loss = forward()
    loss.backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])
    model.zero_grad()
    return loss.item(), gradient


def compare(contenders: dict[str, Fit], rounds: int) -> None:
    """Print the seconds per step of each, and how many times as fast ours is."""
    medians: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        # Who comes first changes, so that neither has the cooler processor.
        for name in list(contenders)[:: 1 if number % 2 == 0 else -1]:
            medians[name].append(statistics.median(contenders[name]()))
        seconds = ", ".join(f"{name} {each[-1]:.2f} s" for name, each in medians.items())
        print(f"round {number + 1}: {seconds}", flush=True)
    theirs, ours = medians.values()
    ratios = [their / our for their, our in zip(theirs, ours, strict=True)]
    print(f"median of {rounds} rounds, {torch.get_num_threads()} threads, torch {torch.__version__}: ", end="")
    print(", ".join(f"{name} {statistics.median(each):.2f} s" for name, each in medians.items()))
    print(f"times as fast: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=Path)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="timed ones of a round; one more goes before them")
    parser.add_argument("--num-layers", type=int, default=12)
    arguments = parser.parse_args()
    num_steps = arguments.steps + 1
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sentences = read_sentences(arguments.sentences)
        tokenizer = save_tokenizer(sentences, folder / "tokenizer")
        chosen = draw_sentences(sentences, tokenizer, num_steps * arguments.batch_size)
        (folder / "sentences.txt").write_text("\n".join(chosen) + "\n", encoding="utf-8")
        recipe = make_recipe(folder, arguments.batch_size, num_steps, arguments.num_layers)
        model = build_model(recipe.model, seed=0)
        data = build_train_data(recipe, None, model.tokenizer)
        order = torch.cat([batch.sample_ids for batch in islice(data.batches(), num_steps)]).tolist()
        export_model(model, folder / "model", ModelCardFacts("start"))
        theirs = SentenceTransformer(str(folder / "model"), device=str(model.device))
        compare_without_dropout(recipe, model, theirs, data)
        counts = {"sentence-transformers": Counted(), "mmcl": Counted()}
        counts["sentence-transformers"].watch(theirs[0].auto_model)
        assert isinstance(model.towers, SingleTower)
        counts["mmcl"].watch(model.towers.backbone)
        fits = (
            their_fit(theirs, [chosen[row] for row in order], arguments.batch_size, folder),
            our_fit(recipe, model, data, num_steps),
        )
        compare(dict(zip(counts, fits, strict=True)), arguments.rounds)
        print("tokens computed per real token: " + ", ".join(f"{name} {each}" for name, each in counts.items()))


if __name__ == "__main__":
    main()

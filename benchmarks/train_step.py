"""One training step of ViT-B/32 with a 12-layer text transformer: open_clip's way and ours, interleaved in one run.

Both start from the same weights and see the same pictures and captions (10 to 20 tokens each). open_clip pads captions
to its context of 77 and takes torch's default AdamW; ours pads to the longest of the batch and takes the fused one.

    python benchmarks/train_step.py [--batch-size 32] [--rounds 5] [--compile]

``--compile`` adds ours with ``compile: true``. Prints the median seconds of each, where they go, and the ratios.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import open_clip
import torch
from torch import Tensor

from mmcl.batch import PairBatch
from mmcl.model import build_model
from mmcl.module import ContrastiveModule, StepOutput
from mmcl.recipe import Recipe
from mmcl.recipe_model import ModelConfig
from mmcl.training.compiling import blocks_to_compile, compile_blocks
from mmcl.training.optimizer import build_optimizer, parameter_groups

ARCHITECTURE = "ViT-B-32"
WORDS = "a photo of the small red wooden boat on calm blue water near an old stone bridge at dawn".split()  # noqa: SIM905
Step = Callable[[dict[str, float]], float]


def has_bf16() -> bool:
    """True when the processor multiplies bfloat16 in hardware."""
    return torch.cuda.is_available() or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def make_captions(batch_size: int) -> list[str]:
    """Captions of 10 to 20 tokens, start and end included."""
    generator = torch.Generator().manual_seed(0)
    captions = []
    for row in range(batch_size):
        num_words = 8 + row % 11
        picks = torch.randint(0, len(WORDS), (num_words,), generator=generator).tolist()
        captions.append(" ".join(WORDS[pick] for pick in picks))
    return captions


def timed(spent: dict[str, float], phase: str, action: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    result = action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    spent[phase] += time.perf_counter() - began
    return result


def make_step(forward: Callable[[], Tensor], optimizer: torch.optim.Optimizer, clamp: Callable[[], None]) -> Step:
    """One update, its phases timed."""

    def step(spent: dict[str, float]) -> float:
        optimizer.zero_grad()
        loss: Tensor = timed(spent, "forward", forward)
        timed(spent, "backward", loss.backward)
        timed(spent, "optimizer", optimizer.step)
        clamp()
        return float(loss.detach())

    return step


def open_clip_step(model: Any, pixels: Tensor, ids: Tensor, autocast: Any) -> Step:
    """A step as open_clip's training script does it."""
    loss_function = open_clip.ClipLoss()
    groups = [{key: group[key] for key in ("params", "weight_decay")} for group in parameter_groups(model, 0.2)]
    optimizer = torch.optim.AdamW(groups, lr=1e-5, betas=(0.9, 0.98), eps=1e-6)

    def forward() -> Tensor:
        with autocast():
            loss: Tensor = loss_function(*model(pixels, ids)[:3])
        return loss

    return make_step(forward, optimizer, lambda: model.logit_scale.data.clamp_(0, 4.6052))


def our_step(module: ContrastiveModule, batch: PairBatch, recipe: Recipe, autocast: Any) -> Step:
    """A step as mmcl's trainer does it, from uint8 pictures."""

    def forward() -> Tensor:
        with autocast():
            output: StepOutput = module(batch)
        return output.loss

    return make_step(forward, build_optimizer(module, recipe), module.after_optimizer_step)


def build_steps(batch_size: int, with_compiled: bool) -> dict[str, Step]:
    """The contenders, each with weights and optimiser of its own."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ours = build_model(ModelConfig(name=ARCHITECTURE, pretrained=False, temperature=0.07)).to(device)
    theirs = open_clip.create_model(ARCHITECTURE, device=device)
    towers: Any = ours.towers
    theirs.load_state_dict(towers.state_dict_with(ours.logit_scale.log_scale.item(), None))
    theirs.train()

    captions = make_captions(batch_size)
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (batch_size, 3, 224, 224), dtype=torch.uint8, generator=generator)
    rows = torch.arange(batch_size)
    batch = PairBatch((images,), (ours.tokenizer(captions),), rows, rows).to(device)
    pixels = ours.preprocessing.normalise(batch.images[0], ours.pixel_mean, ours.pixel_std)
    ids = open_clip.get_tokenizer(ARCHITECTURE)(captions).to(device)
    print(f"captions: {batch.texts[0].attention_mask.sum(1).min()} to {batch.texts[0].input_ids.shape[1]} tokens")

    recipe = Recipe.model_validate({"data": "unused", "lr": 1e-5, "weight_decay": 0.2})
    module = ContrastiveModule(ours, recipe.chosen_objectives).train()

    def bf16() -> Any:
        return torch.autocast(device.type, torch.bfloat16)

    steps = {
        "open_clip": open_clip_step(copy.deepcopy(theirs), pixels, ids, nullcontext),
        "mmcl": our_step(copy.deepcopy(module), batch, recipe, nullcontext),
    }
    if with_compiled:
        compiled = copy.deepcopy(module)
        compile_blocks(blocks_to_compile(compiled.model, device))
        steps["mmcl, compiled"] = our_step(compiled, batch, recipe, nullcontext)
    if has_bf16():
        steps["open_clip, bf16"] = open_clip_step(theirs, pixels, ids, bf16)
        steps["mmcl, bf16"] = our_step(module, batch, recipe, bf16)
    return steps


def measure(steps: dict[str, Step], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds by contender and phase, one value a round; the first round of each warms up and is not kept."""
    seconds: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            spent: dict[str, float] = defaultdict(float)
            loss = step(spent)
            if number == 0:
                print(f"{name}: first loss {loss:.5f}")
                continue
            for phase, value in {**spent, "step": sum(spent.values())}.items():
                seconds[name][phase].append(value)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    seconds = measure(build_steps(arguments.batch_size, arguments.compile), arguments.rounds)
    setting = f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    print(f"\nmedian seconds of {arguments.rounds} rounds, {setting}")
    for name, phases in seconds.items():
        parts = "  ".join(f"{phase} {statistics.median(values):.3f}" for phase, values in phases.items())
        print(f"{name:16s} {parts}")
    print("\nhow many times as fast as open_clip in float32, by round (median)")
    for name, phases in seconds.items():
        if name != "open_clip":
            ratios = [theirs / ours for theirs, ours in zip(seconds["open_clip"]["step"], phases["step"], strict=True)]
            print(f"{name:16s} {statistics.median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()

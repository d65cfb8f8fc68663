"""The tiled losses beside their peers: time, memory, gradient error. Embeddings are given; only losses are compared.

    OMP_NUM_THREADS=1 python benchmarks/losses.py [clip cached nt_xent memory precision rate]
        [--pairs 16384] [--dim 512] [--rounds 7] [--nt-xent-pairs 8192] [--nt-xent-dim 128]

Every run is forward and backward in float32 on one thread. Peers take turns with ours within a round; what is printed
is the median of the rounds' ratios. Peak memory is measured in a fresh process for each, beyond embeddings that exist.

- clip: symmetric InfoNCE; open_clip's ClipLoss.
- cached: the same; sentence-transformers' CachedMultipleNegativesRankingLoss, mini-batches of 512, both directions. Its
  cosine similarity normalises each mini-batch anew; `dot` gives it plain products, as our embeddings have unit norm.
- nt_xent: lightly's NTXentLoss.
- memory: what each needs beyond its inputs, and ours at 32,768 pairs.
- precision: the gradient's error under bfloat16 autocast, against float64.
- rate: the share of the processor's matrix-product rate that 8 N^2 D operations reach.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import open_clip
import torch
from lightly.loss import NTXentLoss
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
from sentence_transformers.util import cos_sim, dot_score
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses import clip_loss, nt_xent_loss

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
SCALE = 14.0
TEMPERATURE = 0.1
MINI_BATCH = 512
PARTS = ("clip", "cached", "nt_xent", "memory", "precision", "rate")


def embeddings(num_pairs: int, dim: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Two leaves of unit rows, each pair a little nearer than chance: a model in training, whose gradient is not 0."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(num_pairs, dim, generator=generator)
    second = 0.1 * first + torch.randn(num_pairs, dim, generator=generator)
    unit = (F.normalize(rows, dim=1).to(dtype) for rows in (first, second))
    first, second = (rows.requires_grad_() for rows in unit)
    return first, second


def ours(first: Tensor, second: Tensor, scale: Tensor) -> Tensor:
    return clip_loss(first, second, scale)


def open_clips(first: Tensor, second: Tensor, scale: Tensor) -> Tensor:
    loss: Tensor = open_clip.ClipLoss()(first, second, scale)
    return loss


def our_nt_xent(first: Tensor, second: Tensor, _: Tensor) -> Tensor:
    return nt_xent_loss((first, second), TEMPERATURE)


def lightlys(first: Tensor, second: Tensor, _: Tensor) -> Tensor:
    loss: Tensor = NTXentLoss(temperature=TEMPERATURE)(first, second)
    return loss


def cached(similarity: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """sentence-transformers' loss; it goes backward mini-batch by mini-batch, into the embeddings' own gradients."""
    peer = CachedMultipleNegativesRankingLoss(
        torch.nn.Sequential(torch.nn.Identity()),  # It embeds nothing here.
        scale=SCALE,
        similarity_fct=similarity,
        mini_batch_size=MINI_BATCH,
        directions=("query_to_doc", "doc_to_query"),
        partition_mode="per_direction",
    )

    def loss(first: Tensor, second: Tensor, _: Tensor) -> Tensor:
        parts = [[part.detach().requires_grad_() for part in rows.split(MINI_BATCH)] for rows in (first, second)]
        value = peer.calculate_loss(parts, with_backward=True)
        for rows, pieces in zip((first, second), parts, strict=True):
            rows.grad = torch.cat([piece.grad for piece in pieces if piece.grad is not None])
        return value

    return loss


LOSSES: dict[str, Loss] = {
    "ours": ours,
    "open_clip": open_clips,
    "cached": cached(cos_sim),
    "cached, dot": cached(dot_score),
    "our NT-Xent": our_nt_xent,
    "lightly": lightlys,
}


def run(loss: Loss, pair: tuple[Tensor, Tensor], scale: float = SCALE) -> tuple[float, float]:
    """Forward and backward; return the seconds and the loss."""
    pair[0].grad = pair[1].grad = None
    factor = torch.tensor(scale, requires_grad=True)
    began = time.perf_counter()
    value = loss(*pair, factor)
    if value.requires_grad:
        value.backward()
    return time.perf_counter() - began, float(value.detach())


def compare(name: str, peers: list[str], num_pairs: int, dim: int, rounds: int) -> None:
    """Print how many times as long as ours each peer takes."""
    pair, small = embeddings(num_pairs, dim), embeddings(64, dim)
    ratios: dict[str, list[float]] = {peer: [] for peer in peers}
    seconds, values = [], {}
    for loss in (name, *peers):
        run(LOSSES[loss], small)
    for _ in range(rounds):
        own, values[name] = run(LOSSES[name], pair)
        seconds.append(own)
        for peer in peers:
            taken, values[peer] = run(LOSSES[peer], pair)
            ratios[peer].append(taken / own)
    print(f"{name}, {num_pairs} pairs, D = {dim}: {statistics.median(seconds):.2f} s, loss {values[name]:.6f}")
    for peer in peers:
        middle, low, high = statistics.median(ratios[peer]), min(ratios[peer]), max(ratios[peer])
        print(f"  {peer}: {middle:.2f} times as long [{low:.2f}, {high:.2f}], loss {values[peer]:.6f}", flush=True)


def peak_extra_mib(name: str, num_pairs: int, dim: int) -> float:
    """Return the peak of one forward and backward beyond the inputs, in MiB, from a process of its own."""
    command = [sys.executable, __file__, "--peak", name, "--pairs", str(num_pairs), "--dim", str(dim)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def print_own_peak(name: str, num_pairs: int, dim: int) -> None:
    """Linux: the highest resident set from here on, the current one subtracted."""
    run(LOSSES[name], embeddings(1100, dim))  # Libraries load, kernels are chosen.
    pair = embeddings(num_pairs, dim)
    before = status_kib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    run(LOSSES[name], pair)
    print((status_kib("VmHWM") - before) / 1024)


def status_kib(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1])


def memory(num_pairs: int, dim: int, nt_xent_pairs: int, nt_xent_dim: int) -> None:
    for name, peers, pairs, width in (
        ("ours", ("open_clip", "cached"), num_pairs, dim),
        ("our NT-Xent", ("lightly",), nt_xent_pairs, nt_xent_dim),
    ):
        own = peak_extra_mib(name, pairs, width)
        print(f"{name}, {pairs} pairs, D = {width}: {own:.0f} MiB beyond its inputs, gradients included")
        for peer in peers:
            taken = peak_extra_mib(peer, pairs, width)
            print(f"  {peer}: {taken:.0f} MiB, {taken / own:.1f} times as much", flush=True)
    print(f"ours, 32768 pairs, D = {dim}: {peak_extra_mib('ours', 32768, dim):.0f} MiB beyond its inputs", flush=True)


def precision(dim: int) -> None:
    """Errors are relative to the largest entry of the float64 gradient."""
    for scale in (14.0, 100.0):
        exact = embeddings(1024, dim, torch.float64)
        run(ours, exact, scale)
        errors = {}
        for name in ("ours", "open_clip"):
            pair = embeddings(1024, dim)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                run(LOSSES[name], pair, scale)
            gradients = [(rows.grad, wanted.grad) for rows, wanted in zip(pair, exact, strict=True)]
            errors[name] = max(
                float((got - wanted).abs().max() / wanted.abs().max())
                for got, wanted in gradients
                if got is not None and wanted is not None
            )
        print(f"bfloat16 autocast, scale {scale:.0f}: ", end="")
        print(", ".join(f"{name} {error:.1e}" for name, error in errors.items()), end="")
        print(f", {errors['open_clip'] / errors['ours']:.0f} times", flush=True)


def rate(num_pairs: int, dim: int, rounds: int) -> None:
    """Products of 4,096 rows stand for the processor's rate; they take turns with the loss."""
    left, right = torch.randn(2, 4096, dim).unbind()
    out = torch.empty(4096, 4096)
    pair = embeddings(num_pairs, dim)
    shares = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(4):
            torch.mm(left, right.T, out=out)
        product_rate = 4 * 2 * 4096 * 4096 * dim / (time.perf_counter() - began)
        shares.append(8 * num_pairs**2 * dim / run(ours, pair)[0] / product_rate)
    print(f"ours, {num_pairs} pairs: {100 * statistics.median(shares):.0f}% of the matrix-product rate", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"which comparisons, of {', '.join(PARTS)}; all")
    parser.add_argument("--pairs", type=int, default=16384, help="N")
    parser.add_argument("--dim", type=int, default=512, help="D")
    parser.add_argument("--nt-xent-pairs", type=int, default=8192, help="samples of two views each")
    parser.add_argument("--nt-xent-dim", type=int, default=128, help="D of NT-Xent; SimCLR projects to 128")
    parser.add_argument("--rounds", type=int, default=7, help="ratios of which the median is printed")
    parser.add_argument("--peak", choices=list(LOSSES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"parts are {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    options.parts = options.parts or PARTS
    torch.set_num_threads(1)
    if options.peak is not None:
        print_own_peak(options.peak, options.pairs, options.dim)
        return
    if "precision" in options.parts:
        precision(options.dim)
    if "memory" in options.parts:
        memory(options.pairs, options.dim, options.nt_xent_pairs, options.nt_xent_dim)
    if "nt_xent" in options.parts:
        compare("our NT-Xent", ["lightly"], options.nt_xent_pairs, options.nt_xent_dim, options.rounds)
    if "rate" in options.parts:
        rate(options.pairs, options.dim, options.rounds)
    if "clip" in options.parts:
        compare("ours", ["open_clip"], options.pairs, options.dim, options.rounds)
    if "cached" in options.parts:
        compare("ours", ["cached", "cached, dot"], options.pairs, options.dim, options.rounds)


if __name__ == "__main__":
    main()

"""Retrieval ranks and zero-shot classifiers beside their peers: time, memory, and that the answers are the same.

    OMP_NUM_THREADS=1 python -m benchmarks.evaluation [memory large ranks classifier]
        [--pairs 16384] [--dim 512] [--rounds 7] [--large-pairs 100000] [--classes 10]

All compute in float32 with as many threads as OMP_NUM_THREADS says. Peers take turns with ours within a round; what is
printed is the median of the rounds' ratios, of processor time, all threads together: what else the machine does counts
little. NumPy and FAISS bring an OpenBLAS each, whose kernels are printed: one that does not know the processor falls
back to those of an older one, and OPENBLAS_CORETYPE=SkylakeX gives both those of AVX-512. Needs faiss-cpu.

- memory: what each needs beyond its inputs, at its peak in a fresh process.
- large: ours of more pairs, its time and the peak of the whole process, and 200 queries' ranks compared with those from
  products in float64.
- ranks: of image and text embeddings that exist, recall at 1, 5 and 10 in both directions.
  - open_clip: the metric of its training, `open_clip_train.train.get_clip_metrics`.
  - FAISS: a flat index of each side, searched for the 10 nearest of the other. It finds no ranks beyond them, nor ties.
- classifier: from ImageNet's class names and OpenAI's 80 templates with a randomly drawn ViT-B-32; open_clip's
  `build_zero_shot_classifier`, from equal weights. Names are taken evenly from the 1,000; both take time in proportion
  to their number.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip_train.train import get_clip_metrics
from threadpoolctl import threadpool_info

from evaluation.metrics import class_weights, fill_templates, image_text_ranks, recall_at_k, similarity
from mmcl.embedder import ModelEmbedder
from mmcl.model import build_model
from mmcl.recipe_model import ModelConfig

Rows = NDArray[np.float32]
Recalls = dict[str, float]
PARTS = ("memory", "large", "ranks", "classifier")
CUTOFFS = (1, 5, 10)
NUM_CHECKED = 200
ARCHITECTURE = "ViT-B-32"


def embeddings(num_pairs: int, dim: int) -> tuple[Rows, Rows]:
    """Unit rows, each pair a little nearer than chance."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((num_pairs, dim), dtype=np.float32)
    texts = rng.standard_normal((num_pairs, dim), dtype=np.float32)
    texts += 0.1 * images
    for rows in (images, texts):
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return images, texts


def ours(images: Rows, texts: Rows) -> Recalls:
    of_texts, of_images = image_text_ranks(images, texts, np.arange(len(images)), np.arange(len(texts)))
    directions = (("image_to_text", of_images), ("text_to_image", of_texts))
    return {f"{name}_R@{k}": recall_at_k(found.ranks, k) for name, found in directions for k in CUTOFFS}


def open_clips(images: Rows, texts: Rows) -> Recalls:
    found: Recalls = get_clip_metrics(torch.from_numpy(images), torch.from_numpy(texts), torch.tensor(100.0))
    return {name: float(value) for name, value in found.items() if "R@" in name}


def by_faiss(images: Rows, texts: Rows) -> Recalls:
    found: Recalls = {}
    own = np.arange(len(images))[:, None]
    for name, queries, candidates in (("image_to_text", images, texts), ("text_to_image", texts, images)):
        index = faiss.IndexFlatIP(candidates.shape[1])
        index.add(candidates)
        nearest = index.search(queries, max(CUTOFFS))[1]
        found |= {f"{name}_R@{k}": float((nearest[:, :k] == own).any(axis=1).mean()) for k in CUTOFFS}
    return found


WAYS: dict[str, Callable[[Rows, Rows], Recalls]] = {"ours": ours, "open_clip": open_clips, "FAISS": by_faiss}


def ranks(num_pairs: int, dim: int, rounds: int) -> None:
    """Print how many times as long as ours each peer takes."""
    pairs, few = embeddings(num_pairs, dim), embeddings(64, dim)
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    found = {name: way(*few) for name, way in WAYS.items()}
    for _ in range(rounds):
        for name, way in WAYS.items():
            began = time.process_time()
            found[name] = way(*pairs)
            seconds[name].append(time.process_time() - began)
    print(f"ours, {num_pairs} x {num_pairs}, D = {dim}: {statistics.median(seconds['ours']):.2f} s")
    for peer in ("open_clip", "FAISS"):
        furthest = max(abs(found[peer][name] - value) for name, value in found["ours"].items())
        print(f"  {peer}: {_ratio(seconds[peer], seconds['ours'])}; recalls at most {furthest:.0e} apart", flush=True)


def _ratio(theirs: list[float], own: list[float]) -> str:
    ratios = [their / mine for their, mine in zip(theirs, own, strict=True)]
    return f"{statistics.median(ratios):.2f} times as long [{min(ratios):.2f}, {max(ratios):.2f}]"


def memory(num_pairs: int, dim: int) -> None:
    for name in WAYS:
        command = [sys.executable, "-m", "benchmarks.evaluation", "--peak", name]
        command += ["--pairs", str(num_pairs), "--dim", str(dim)]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]
        print(f"{name}, {num_pairs} pairs, D = {dim}: {float(found):.0f} MiB beyond its inputs", flush=True)


def print_own_peak(name: str, num_pairs: int, dim: int) -> None:
    """Linux: the highest resident set from here on, the current one subtracted."""
    WAYS[name](*embeddings(64, dim))  # Libraries load, kernels are chosen.
    pairs = embeddings(num_pairs, dim)
    before = _status_kib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    WAYS[name](*pairs)
    print((_status_kib("VmHWM") - before) / 1024)


def _status_kib(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1])


def large(num_pairs: int, dim: int) -> None:
    images, texts = embeddings(num_pairs, dim)
    own = np.arange(num_pairs)
    Path("/proc/self/clear_refs").write_text("5")
    began = time.process_time()
    both = image_text_ranks(images, texts, own, own)
    seconds, peak = time.process_time() - began, _status_kib("VmHWM") / 2**20
    print(f"ours, {num_pairs} x {num_pairs}, D = {dim}: {seconds:.0f} s, the whole process at most {peak:.2f} GiB")
    checked = np.sort(np.random.default_rng(1).permutation(num_pairs)[:NUM_CHECKED])
    same = 0
    for found, queries, candidates in zip(both, (texts, images), (images, texts), strict=True):
        scores = similarity(queries[checked], candidates)
        same += int(((scores >= scores[np.arange(len(checked)), checked, None]).sum(1) == found.ranks[checked]).sum())
    print(f"  {same} of {2 * len(checked)} ranks are those from products in float64", flush=True)


def classifier(num_classes: int, rounds: int) -> None:
    model = build_model(ModelConfig(name=ARCHITECTURE, pretrained=False))
    peer = open_clip.create_model(ARCHITECTURE).eval()
    peer.load_state_dict(model.towers.state_dict_with(model.logit_scale.log_scale.item(), None))
    tokenizer, embedder = open_clip.get_tokenizer(ARCHITECTURE), ModelEmbedder(model, ARCHITECTURE)
    every, templates = open_clip.IMAGENET_CLASSNAMES, open_clip.OPENAI_IMAGENET_TEMPLATES
    names = [every[row * len(every) // num_classes] for row in range(num_classes)]
    prompts = fill_templates(names, [template("{}") for template in templates])
    num_tokens = [int(length) for length in (tokenizer(prompts) != 0).sum(dim=1)]
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        began = time.process_time()
        weights = class_weights(embedder.encode_texts(prompts), len(names))
        seconds[0].append(time.process_time() - began)
        began = time.process_time()
        theirs = open_clip.build_zero_shot_classifier(peer, tokenizer, names, templates).T.numpy()
        seconds[1].append(time.process_time() - began)
    print(f"{len(prompts)} prompts of {statistics.mean(num_tokens):.1f} tokens, {ARCHITECTURE}: ", end="")
    print(f"{statistics.median(seconds[0]) / len(prompts) * 1000:.2f} ms each")
    cosines = (weights.astype(np.float64) * theirs).sum(axis=1)
    print(f"  open_clip: {_ratio(seconds[1], seconds[0])}; ", end="")
    furthest = np.abs(weights - theirs).max()
    print(f"numbers at most {furthest:.0e} apart, cosines at least {cosines.min():.7f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"which comparisons, of {', '.join(PARTS)}; all")
    parser.add_argument("--pairs", type=int, default=16384, help="N")
    parser.add_argument("--dim", type=int, default=512, help="D")
    parser.add_argument("--large-pairs", type=int, default=100_000, help="N of the part large")
    parser.add_argument("--classes", type=int, default=10, help="of the classifier, at most 1,000")
    parser.add_argument("--rounds", type=int, default=7, help="ratios of which the median is printed")
    parser.add_argument("--peak", choices=list(WAYS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"parts are {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    options.parts = options.parts or PARTS
    if options.peak is not None:
        print_own_peak(options.peak, options.pairs, options.dim)
        return
    kernels = [library["architecture"] for library in threadpool_info() if library["internal_api"] == "openblas"]
    print(f"{torch.get_num_threads()} threads, kernels of OpenBLAS: {', '.join(kernels)}", flush=True)
    if "memory" in options.parts:
        memory(options.pairs, options.dim)
    if "large" in options.parts:  # before the others, what they leave behind would count as the process's memory
        large(options.large_pairs, options.dim)
    if "ranks" in options.parts:
        ranks(options.pairs, options.dim, options.rounds)
    if "classifier" in options.parts:
        classifier(options.classes, options.rounds)


if __name__ == "__main__":
    main()

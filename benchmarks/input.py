"""From JPEG files to batches of augmented 224 x 224 pictures: open_clip's training transform and ours, interleaved.

Both take the same files and the same random crop (0.9 to 1 of the area, bicubic). open_clip's hands over normalised
float32; ours uint8, which is normalised on the device where it is encoded. Ours is timed both ways: as it is handed
over, and with the normalising done on the same core, which is what open_clip's figure holds.

The pictures are parts of two photographs that come with scikit-learn, 500 x 375 pixels at quality 90, or those of a
folder of your own.

    python -m benchmarks.input [--pictures FOLDER] [--batch-size 64] [--num-batches 32] [--rounds 5] [--num-workers 2]

Prints how far the pixels of equal crops are apart, milliseconds per picture, and the ratios, in one process of one
thread and through workers; and what decoding alone takes by Pillow, by torchvision and, where it is installed, by
torchcodec, whose pixels are the same.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.transform import image_transform
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.io import decode_jpeg

from mmcl.data.images import decode_image
from mmcl.data.loader import build_train_data
from mmcl.data.views import ImageView
from mmcl.recipe import Recipe
from mmcl.recipe_data import ImageViewConfig
from mmcl.towers.preprocessing import ImagePreprocessing

SIZE = 224
CROP = (0.9, 1.0)
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
OURS = ImagePreprocessing(SIZE, mean=MEAN, std=STD)
OPEN_CLIP = "open_clip"
NUM_WARMING = 10
Batches = Generator[Tensor, None, None]
Loader = Callable[[], Batches]
"""Starts anew and yields batches without end."""


class OpenClipPictures(Dataset[Tensor]):
    """The pictures of open_clip's `CsvDataset`: opened by Pillow, then its transform."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.transform = image_transform(SIZE, is_train=True, mean=MEAN, std=STD)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        pixels: Tensor = self.transform(Image.open(str(self.paths[index])))
        return pixels


def write_photographs(folder: Path, num_pictures: int = 256) -> None:
    """Write parts of two photographs, 500 x 375, some of them mirrored."""
    draw = random.Random(0)
    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    for number in range(num_pictures):
        photograph = photographs[number % 2]
        width = draw.randint(520, 568)
        height = width * 3 // 4
        left, top = draw.randint(0, photograph.width - width), draw.randint(0, photograph.height - height)
        part = photograph.crop((left, top, left + width, top + height)).resize((500, 375), Image.Resampling.LANCZOS)
        if draw.random() < 0.5:
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        part.save(folder / f"{number:03}.jpg", quality=90)


def recipe_of(table: Path, batch_size: int, num_workers: int) -> Recipe:
    """A recipe that needs pictures alone."""
    data = {
        "train": str(table),
        "validation": 0,
        "columns": {"group": False},
        "image_views": [{"random_resized_crop": CROP}],
        "num_workers": num_workers,
    }
    fields = {"model": {"image": "unused"}, "data": data, "objectives": ["cross_entropy"], "batch_size": batch_size}
    return Recipe.model_validate(fields)


def contenders(paths: list[Path], table: Path, batch_size: int, num_workers: int) -> dict[str, Loader]:
    """How each makes its batches."""
    pictures = OpenClipPictures(paths)
    data = build_train_data(recipe_of(table, batch_size, num_workers), OURS, None)
    mean, std = (torch.tensor(values).view(3, 1, 1) * 255 for values in (MEAN, STD))

    def theirs() -> Batches:
        sampler = RandomSampler(pictures, replacement=True, num_samples=10**9)
        yield from DataLoader(pictures, batch_size, sampler=sampler, num_workers=num_workers)

    def ours() -> Batches:
        for batch in data.batches():
            yield batch.images[0]

    def ours_normalised() -> Batches:
        for pixels in ours():
            yield OURS.normalise(pixels, mean, std)

    return {OPEN_CLIP: theirs, "mmcl": ours, "mmcl, normalised too": ours_normalised}


def print_parity(paths: list[Path]) -> None:
    """Compare the pixels of equal crops, in levels of 255, before normalising."""
    theirs = OpenClipPictures(paths)
    ours = ImageView(ImageViewConfig(random_resized_crop=CROP), OURS)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    differences = []
    for seed, path in enumerate(paths[:64]):
        torch.manual_seed(seed)
        levels = ((theirs[seed] * std + mean) * 255).round()
        differences.append((ours(decode_image(path), seed) - levels).abs())
    apart = torch.stack(differences)
    share = (apart > 0).float().mean().item()
    print(f"pixels of equal crops: at most {apart.max():.0f} of 255 apart, and {share:.2%} of them apart at all")


def print_decoders(paths: list[Path], rounds: int) -> None:
    """Time decoding alone, in turns."""
    encoded = [path.read_bytes() for path in paths]
    decoders: dict[str, Callable[[bytes], Any]] = {"Pillow": lambda data: decode_image(data)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's is deprecated
        decoders["torchvision"] = lambda data: decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        with contextlib.suppress(ImportError):
            from torchcodec.decoders import decode_jpeg as by_torchcodec

            decoders["torchcodec"] = lambda data: by_torchcodec(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        spent: dict[str, list[float]] = {name: [] for name in decoders}
        for _ in range(rounds):
            for name, decode in decoders.items():
                began = time.perf_counter()
                for data in encoded:
                    decode(data)
                spent[name].append((time.perf_counter() - began) / len(encoded) * 1e3)
        pixels = [torch.from_numpy(np.array(decode_image(encoded[0]))).permute(2, 0, 1)]
        pixels += [decode(encoded[0]) for name, decode in decoders.items() if name != "Pillow"]
    apart = max((other.int() - pixels[0].int()).abs().max().item() for other in pixels)
    print("  ".join(f"{name} {statistics.median(values):.3f}" for name, values in spent.items()), end="")
    print(f" ms per picture, decoding alone; pixels at most {apart} apart")


def measure(loaders: dict[str, Loader], batch_size: int, num_batches: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds per picture by contender, one value a round, in turns.

    Each starts its loader anew, and its first batches are not counted: more than its workers may have made ahead.
    """
    spent: dict[str, list[float]] = {name: [] for name in loaders}
    for _ in range(rounds):
        for name, load in loaders.items():
            batches = load()
            for _ in range(NUM_WARMING):
                next(batches)
            began = time.perf_counter()
            for _ in range(num_batches):
                next(batches)
            spent[name].append((time.perf_counter() - began) / (num_batches * batch_size) * 1e3)
            batches.close()
    return spent


def print_table(spent: dict[str, list[float]]) -> None:
    """Print medians, and how many times as long open_clip's takes, round by round."""
    for name, values in spent.items():
        line = f"  {name:22s} {statistics.median(values):.3f} ms per picture"
        if name != OPEN_CLIP:
            ratios = [theirs / ours for theirs, ours in zip(spent[OPEN_CLIP], values, strict=True)]
            low, high = min(ratios), max(ratios)
            line += f"   open_clip takes {statistics.median(ratios):.2f} times as long  ({low:.2f} to {high:.2f})"
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="a folder of JPEG files")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--num-batches", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num-workers", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder, table = arguments.pictures or Path(scratch), Path(scratch, "pictures.csv")
        if arguments.pictures is None:
            write_photographs(folder)
        paths = sorted(folder.resolve().rglob("*.jpg"))
        table.write_text("".join(f"{line}\n" for line in ["image,label", *(f'"{path}",picture' for path in paths)]))
        print_parity(paths)
        print_decoders(paths, arguments.rounds)
        for num_workers in (0, arguments.num_workers):
            print(f"{num_workers} workers" if num_workers else "one process, one thread")
            loaders = contenders(paths, table, arguments.batch_size, num_workers)
            print_table(measure(loaders, arguments.batch_size, arguments.num_batches, arguments.rounds))


if __name__ == "__main__":
    main()

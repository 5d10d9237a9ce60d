"""What a network can reach on the control tasks without the mixer that they need, by simulation.

    python bounds.py            # bounds.csv; about two minutes of one core

Three readers, all of which know every glyph for certain, so that they can only be better than a
network that has to learn to read:

- `sum`: the best sum of local evidence: a linear score for each class of how often each item
  occurs, trained for accuracy (a smooth one) from several starts.
- `window R`: any function of what stands in a window of R x R cells, learned by an MLP, at all
  places, and the mean over them: what blocks that reach R cells, mean pooling and a linear head can
  do. Reach 15 sees the whole grid from everywhere.
- `pixels`: for `local`, the best use of the sums of products at each distance, the Bayes rate but
  for not knowing where the square is.

Bounds of `window` are learned, not proved: a better training could give a little more.
"""

import csv
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spach_nas.data.controls import BLOCK, LAGS, Options, draw_block

CLASSES = 8
REACHES = {"set": (1, 3, 5, 7, 15), "lookup": (7, 15)}
STEPS, BATCH, HIDDEN = 600, 128, 96


def set_items(rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Letters of `set` (or waves of `mixed`) on the grid, (N, 8, 8, 8), and labels (N,)."""
    chosen = rng.permuted(np.tile(np.arange(CLASSES), (count, 1)), axis=1)[:, :3]
    letters = chosen[:, [0, 0, 1, 2, 2, 2]]
    cells = rng.permuted(np.tile(np.arange(64), (count, 1)), axis=1)[:, :6]
    grid = np.zeros((count, 64, CLASSES), dtype=np.float32)
    grid[np.arange(count)[:, None], cells, letters] = 1
    return torch.from_numpy(grid.reshape(count, 8, 8, CLASSES)), torch.from_numpy(chosen[:, 0])


def lookup_items(rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Pairs of `lookup` on the grid, (N, 8, 8, 36), a channel for each key and letter or `?`.

    A pair stands in the outer of its two cells: who reads it has seen both.
    """
    pairs = [0, 0, 1, 1, 2, 2]  # each in two rows
    keys = rng.permuted(np.tile(np.arange(4), (count, 1)), axis=1)[:, [*pairs, *[0] * 8]]
    values = rng.permuted(np.tile(np.arange(CLASSES), (count, 1)), axis=1)[:, :3]
    items = keys * 9 + np.column_stack([values[:, pairs], np.full((count, 8), 8)])
    rows = rng.permuted(np.tile(np.arange(8), (count, 1)), axis=1)[:, :6]
    rows = np.column_stack([rows, np.tile(np.arange(8), (count, 1))])
    side = rng.integers(0, 2, (count, 1)) * 7
    cells = rows * 8 + np.concatenate([np.tile(side, 6), np.tile(7 - side, 8)], axis=1)
    grid = np.zeros((count, 64, 36), dtype=np.float32)
    grid[np.arange(count)[:, None], cells, items] = 1
    return torch.from_numpy(grid.reshape(count, 8, 8, 36)), torch.from_numpy(values[:, 0])


ITEMS = {"set": set_items, "lookup": lookup_items}


def best_sum(task: str, *, starts: int = 5) -> float:
    """Accuracy of the best linear score of the counts that was found."""
    rng = np.random.default_rng(0)
    grid, labels = ITEMS[task](rng, 8192)
    counts = grid.sum((1, 2))
    fresh, wanted = ITEMS[task](rng, 8192)
    found = 0.0
    for start in range(starts):
        torch.manual_seed(start)
        head = nn.Linear(counts.shape[1], CLASSES)
        optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
        for _ in range(400):
            # The chance of the right class, a smooth accuracy: cross-entropy would not seek it.
            right = head(counts).softmax(1).gather(1, labels[:, None]).mean()
            optimizer.zero_grad()
            (-right).backward()
            optimizer.step()
        found = max(found, accuracy(head(fresh.sum((1, 2))), wanted))
    return found


def best_window(task: str, reach: int) -> float:
    """Accuracy of a learned function of windows, averaged over all places."""
    rng = np.random.default_rng(reach)
    torch.manual_seed(0)
    items = ITEMS[task](rng, 1)[0].shape[-1]
    model = nn.Sequential(
        nn.Linear(items, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN), nn.GELU(),
        nn.Linear(HIDDEN, CLASSES),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)

    def logits(grid: Tensor) -> Tensor:
        window = F.avg_pool2d(
            grid.permute(0, 3, 1, 2), reach, stride=1, padding=reach // 2, divisor_override=1
        )
        scores: Tensor = model(window.permute(0, 2, 3, 1))
        return scores.mean((1, 2)) * 64

    for _ in range(STEPS):
        grid, labels = ITEMS[task](rng, BATCH)
        loss = F.cross_entropy(logits(grid), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    with torch.inference_mode():
        grid, labels = ITEMS[task](rng, 4096)
        return accuracy(logits(grid), labels)


def best_pixels() -> float:
    """Accuracy on `local` of the distance at which pixels agree most."""
    right = total = 0
    for number in range(8):
        images, labels = draw_block("local", Options(), "test", number)
        flat = images[..., 0].astype(np.float32)
        place = np.linspace(-1, 1, flat.shape[1])
        for axis in (1, 2):
            # The shading is a ramp along each side.
            slope = (flat.mean(3 - axis) @ place) / (place @ place)
            ramp = slope[:, None] * place
            flat -= ramp[:, :, None] if axis == 1 else ramp[:, None]
        flat -= flat.mean((1, 2), keepdims=True)
        agree = [(flat * np.roll(flat, lag, axis=(1, 2))).mean((1, 2)) for lag in LAGS]
        right += int((np.argmax(agree, axis=0) == labels).sum())
        total += BLOCK
    return right / total


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of the images whose class has the highest score."""
    return float((logits.argmax(1) == labels).float().mean())


def main() -> None:
    """Write `bounds.csv`."""
    torch.set_num_threads(1)
    rows = [("local", "pixels", "", best_pixels())]
    for task in ITEMS:
        rows.append((task, "sum", "", best_sum(task)))
        print(*rows[-1], flush=True)
        for reach in REACHES[task]:
            rows.append((task, "window", str(reach), best_window(task, reach)))
            print(*rows[-1], flush=True)
    with Path(__file__).with_name("bounds.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("task", "reader", "reach", "accuracy"))
        writer.writerows((*row[:3], f"{row[3]:.4f}") for row in rows)


if __name__ == "__main__":
    main()

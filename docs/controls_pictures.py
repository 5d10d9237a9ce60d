"""Makes the pictures of the control tasks for `controls.md`: four images of each task.

    python docs/controls_pictures.py

It writes them to `docs/pictures/`.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from spach_nas.data.controls import TASKS, Options, draw_block

FOLDER = Path(__file__).with_name("pictures")
COUNT, ZOOM, GAP = 4, 3, 4  # images of a task, pixels for one of theirs, pixels between images


def main() -> None:
    """Make all pictures."""
    FOLDER.mkdir(exist_ok=True)
    for task, kind in TASKS.items():
        images, labels = draw_block(task, Options(), "train", 0)
        large = images[:COUNT, ..., 0].repeat(ZOOM, axis=1).repeat(ZOOM, axis=2)
        padded = np.pad(large, [(0, 0), (0, 0), (0, GAP)], constant_values=255)
        row = np.concatenate(padded, axis=1)[:, :-GAP]
        path = FOLDER / f"controls_{task}.png"
        Image.fromarray(row).save(path, optimize=True)
        print(path, [kind.names[label] for label in labels[:COUNT]])


if __name__ == "__main__":
    main()

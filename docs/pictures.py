"""Makes the pictures of the README and these pages.

    python docs/pictures.py

Those of a search are from `results/first_front`; those of the control tasks show four images of
each. It writes them to `docs/pictures/`. It needs `pip install 'spach-nas[static]'` and Chrome or
Chromium.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from spach_nas.data.controls import TASKS, Options, draw_block
from spach_nas.report import write_pictures
from spach_nas.report.study import study_facts, study_records

STUDY = Path(__file__).parents[1] / "results" / "first_front"
FOLDER = Path(__file__).with_name("pictures")
# Plots are bitmaps, so that they look the same with any fonts. The text of drawings remains text.
PLOTS = {"front.png": "png", "hypervolume.png": "png", "drawings.svg": "svg"}
PICTURES = (*PLOTS, *(f"controls_{task}.png" for task in TASKS))
COUNT, ZOOM, GAP = 4, 3, 4  # images of a task, pixels for one of theirs, pixels between images


def main() -> None:
    """Make all pictures."""
    FOLDER.mkdir(exist_ok=True)
    records, facts = study_records(STUDY), study_facts(STUDY)
    with TemporaryDirectory(dir=FOLDER, prefix=".new-") as temporary:
        for kind in dict.fromkeys(PLOTS.values()):
            write_pictures(Path(temporary), kind=kind, records=records, facts=facts)
        for name in PLOTS:
            print((Path(temporary) / name).replace(FOLDER / name))
    for task in TASKS:
        draw_task(task)


def draw_task(task: str) -> None:
    """A row of images of a control task."""
    images, _ = draw_block(task, Options(), "train", 0)
    large = images[:COUNT, ..., 0].repeat(ZOOM, axis=1).repeat(ZOOM, axis=2)
    padded = np.pad(large, [(0, 0), (0, 0), (0, GAP)], constant_values=255)
    path = FOLDER / f"controls_{task}.png"
    Image.fromarray(np.concatenate(padded, axis=1)[:, :-GAP]).save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    main()

"""Makes the pictures of the README and these pages from `results/first_front`.

    python docs/pictures.py

It writes them to `docs/pictures/`. It needs `pip install 'spach-nas[static]'` and Chrome or
Chromium.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from spach_nas.report import write_pictures
from spach_nas.report.study import study_facts, study_records

STUDY = Path(__file__).parents[1] / "results" / "first_front"
FOLDER = Path(__file__).with_name("pictures")
# Plots are bitmaps, so that they look the same with any fonts. The text of drawings remains text.
PICTURES = {"front.png": "png", "hypervolume.png": "png", "drawings.svg": "svg"}


def main() -> None:
    """Make all pictures."""
    FOLDER.mkdir(exist_ok=True)
    records, facts = study_records(STUDY), study_facts(STUDY)
    with TemporaryDirectory(dir=FOLDER, prefix=".new-") as temporary:
        for kind in dict.fromkeys(PICTURES.values()):
            write_pictures(Path(temporary), kind=kind, records=records, facts=facts)
        for name in PICTURES:
            print((Path(temporary) / name).replace(FOLDER / name))


if __name__ == "__main__":
    main()

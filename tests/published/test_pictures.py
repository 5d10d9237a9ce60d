"""The pictures of README and docs are there, and one script makes them all."""

import re
import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest

from spach_nas.report.print_figures import sheet
from spach_nas.report.study import study_facts, study_records
from spach_nas.report.view import study_view

pytestmark = pytest.mark.published

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "docs" / "pictures.py"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWN = sorted(
    {
        (page.parent / name).resolve().relative_to(ROOT.resolve()).as_posix()
        for page in PAGES
        for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    }
)


@pytest.mark.parametrize("name", SHOWN)
def test_every_picture_shown_is_there_and_small(name: str) -> None:
    assert (ROOT / name).stat().st_size < 300_000


def test_the_script_makes_the_pictures_that_are_shown_and_no_others() -> None:
    made = {SCRIPT["FOLDER"] / name for name in SCRIPT["PICTURES"]}
    assert set(SCRIPT["FOLDER"].iterdir()) == made
    shown = {ROOT / name for name in SHOWN if name.startswith("docs/pictures/")}
    assert {path.resolve() for path in made} == {path.resolve() for path in shown}


def test_the_drawings_are_those_of_the_published_study() -> None:
    study = SCRIPT["STUDY"]
    drawn = (SCRIPT["FOLDER"] / "drawings.svg").read_text(encoding="utf-8")
    assert drawn == sheet(study_view(study_records(study), study_facts(study)))
    assert ElementTree.fromstring(drawn).tag.endswith("svg")

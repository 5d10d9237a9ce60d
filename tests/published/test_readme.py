"""What the README shows is legal."""

import re
from pathlib import Path

import pytest

from spach_nas.config.search_yaml import load_config

pytestmark = pytest.mark.published

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("text", BLOCKS)
def test_a_search_of_the_readme_is_legal(text: str, tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(text)
    assert load_config(path).search.trials


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len(README.read_text(encoding="utf-8").split()) <= 900


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)h][^)]*)\)", README.read_text("utf-8")))
def test_every_file_that_the_readme_links_to_is_there(link: str) -> None:
    assert (README.parent / link).exists()

"""What the README shows is legal."""

import re
from pathlib import Path

import pytest
import yaml

from spach_nas.config import load_config
from spach_nas.references import get_reference
from spach_nas.search_space import SearchSpace
from spach_nas.shipped import shipped_folder

pytestmark = pytest.mark.published

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_the_search_of_the_readme_is_the_shipped_one(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(BLOCKS[0])
    assert load_config(path) == load_config(shipped_folder() / "quickstart.yaml")


def test_the_space_of_the_readme_is_one_and_holds_a_hybrid_of_the_paper() -> None:
    space = SearchSpace.from_dict(yaml.safe_load(BLOCKS[1]))
    assert space.contains(get_reference("hybrid_ms_s_plus").architecture)


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)h][^)]*)\)", README.read_text("utf-8")))
def test_every_file_that_the_readme_links_to_is_there(link: str) -> None:
    assert (README.parent / link).exists()

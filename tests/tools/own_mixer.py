"""The worked example of the documentation, taken out of it and put to use."""

import re
import sys
from pathlib import Path

import pytest

from spach_nas.config import plugins
from spach_nas.space import mixers

DOCUMENT = Path(__file__).parents[2] / "docs" / "own_mixer.md"


def blocks(language: str) -> list[str]:
    """The code blocks of one language, in the order of the document."""
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


def write_example(folder: Path) -> None:
    (folder / "my_mixers.py").write_text(blocks("python")[0])
    (folder / "pooled.yaml").write_text(blocks("yaml")[0])


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the mixers of the package are known, until the test is over."""
    own = {name: mixers.MIXERS[name] for name in ("conv", "attention", "mlp")}
    monkeypatch.setattr(mixers.MIXERS, "known", own)
    monkeypatch.setattr(plugins, "brought_in", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    # As if it had not been imported, now and after the test.
    monkeypatch.setitem(sys.modules, "my_mixers", sys)
    monkeypatch.delitem(sys.modules, "my_mixers")
    mixers.mixer_cost.cache_clear()

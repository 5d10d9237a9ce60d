import importlib.util
from pathlib import Path
from xml.etree import ElementTree

import pytest

from spach_nas.errors import SpachNasError
from spach_nas.objectives import OBJECTIVES
from spach_nas.report import static_front
from study_factory import make_record, make_study

choreographer = pytest.importorskip("choreographer", reason="needs kaleido: pip install kaleido")

TWO = (OBJECTIVES["accuracy"], OBJECTIVES["macs"])
STUDY = make_study(12)
needs_chrome = pytest.mark.skipif(
    choreographer.browsers.chromium.Chromium.find_browser(skip_local=False) is None,
    reason="needs Chrome or Chromium",
)


@needs_chrome
@pytest.mark.parametrize(
    ("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<svg"), ("pdf", b"%PDF")]
)
def test_the_ending_decides_the_kind(tmp_path: Path, ending: str, start: bytes) -> None:
    path = static_front(STUDY, tmp_path / f"front.{ending}", objectives=TWO, title="<b>&")
    assert path.read_bytes().startswith(start)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    if ending == "svg":
        assert "<b>&" in list(ElementTree.parse(path).getroot().itertext())


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpachNasError, match=r"'\.gif'; expected \.png, \.svg or \.pdf"):
        static_front(STUDY, tmp_path / "front.gif", objectives=TWO)


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    with pytest.raises(SpachNasError, match="no complete trial"):
        static_front([make_record(0, None)], tmp_path / "front.png", objectives=TWO)


def test_a_missing_kaleido_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SpachNasError, match="pip install kaleido") as caught:
        static_front(STUDY, tmp_path / "front.png", objectives=TWO)
    assert "\n" not in str(caught.value)


def test_a_missing_chrome_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(**_: object) -> None:
        return None

    monkeypatch.setattr(choreographer.browsers.chromium.Chromium, "find_browser", nowhere)
    with pytest.raises(SpachNasError, match="apt install chromium") as caught:
        static_front(STUDY, tmp_path / "front.png", objectives=TWO)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())

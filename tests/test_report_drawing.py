from dataclasses import replace
from xml.etree import ElementTree

import pytest

from spach_nas import mixers
from spach_nas.architecture import Architecture, Stage
from spach_nas.mixers import MixerCost, MixerSpec, mixer_names, register_mixer
from spach_nas.references import REFERENCES
from spach_nas.report.drawing import draw, drawn_width
from spach_nas.report.theme import DARK, LIGHT, MIXER_COLOURS, Inks, ink_on, mixer_colour

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '<script>alert("x")</script>&'


def blocks(svg: str) -> list[tuple[str, ElementTree.Element]]:
    """(title, rect) of every block, in order."""
    groups = ElementTree.fromstring(svg).iter(f"{SVG}g")
    found = [(group.find(f"{SVG}title").text, group.find(f"{SVG}rect")) for group in groups]
    return [(title, rect) for title, rect in found if "block" in title]


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first: str, second: str) -> float:
    """By WCAG 2.2; 4.5 is asked of text, 3 of graphics."""
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


@pytest.fixture
def hostile_mixer(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(mixers, "_REGISTRY", dict(mixers._REGISTRY))
    spec = MixerSpec(name=HOSTILE, short="<b>", cost=lambda site: MixerCost(0, 0, 0), module=None)
    register_mixer(spec)
    return spec.name


@pytest.mark.parametrize("name", REFERENCES)
def test_every_block_is_drawn_in_the_colour_of_its_mixer(name: str) -> None:
    architecture = REFERENCES[name].architecture
    drawn = blocks(draw(architecture))
    expected = [mixer for stage in architecture.stages for mixer in stage.mixers]
    assert [title.split(": ")[1] for title, _ in drawn] == expected
    assert [rect.get("fill") for _, rect in drawn] == [mixer_colour(mixer) for mixer in expected]


def test_height_follows_the_square_root_of_the_width() -> None:
    drawn = blocks(draw(REFERENCES["hybrid_ms_s"].architecture))
    heights = {title.split(",")[0]: float(rect.get("height")) for title, rect in drawn}
    assert heights["stage 4"] == pytest.approx(2 * heights["stage 2"], rel=0.01)


def test_wider_than_full_height_stays_inside() -> None:
    stage = Stage(mixers=("conv",), width=4096, heads=1, expansion_ratio=2)
    svg = draw(Architecture(stem="conv1", patch_size=4, stages=(stage,)))
    (_, rect) = blocks(svg)[0]
    assert float(rect.get("y")) >= 0
    assert float(rect.get("height")) <= float(ElementTree.fromstring(svg).get("height"))


@pytest.mark.parametrize("name", ["hybrid_ms_s_plus", "mlp_s_shared", "conv_ms_xxs"])
def test_nothing_is_drawn_outside_the_picture(name: str) -> None:
    architecture = REFERENCES[name].architecture
    root = ElementTree.fromstring(draw(architecture))
    wide = float(root.get("width"))
    assert wide == drawn_width(architecture)
    for rect in root.iter(f"{SVG}rect"):
        assert 0 <= float(rect.get("x")) <= wide - float(rect.get("width"))


def test_resolutions_and_widths_are_written() -> None:
    words = " ".join(ElementTree.fromstring(draw(REFERENCES["trans_ms_s"].architecture)).itertext())
    for expected in ("56\N{MULTIPLICATION SIGN}56", "7\N{MULTIPLICATION SIGN}7", "768 ch"):
        assert expected in words


def test_a_hostile_mixer_name_is_text(hostile_mixer: str) -> None:
    stage = Stage(mixers=(hostile_mixer, "conv"), width=8, heads=1, expansion_ratio=2)
    svg = draw(Architecture(stem="conv1", patch_size=4, stages=(stage,)))
    root = ElementTree.fromstring(svg)
    assert not list(root.iter(f"{SVG}script"))
    assert any(HOSTILE in text for text in root.itertext())


@pytest.mark.parametrize("name", mixer_names())
def test_letters_read_on_every_mixer(name: str) -> None:
    colour = mixer_colour(name)
    assert contrast(ink_on(colour), colour) >= 4.5


@pytest.mark.parametrize("inks", [LIGHT, DARK], ids=["light", "dark"])
def test_inks_read_on_their_page(inks: Inks) -> None:
    for surface in (inks.surface, inks.page):
        assert contrast(inks.text, surface) >= 7
        assert contrast(inks.muted, surface) >= 4.5
        assert contrast(inks.accent, surface) >= 4.5


def test_mixers_have_different_colours(hostile_mixer: str) -> None:
    assert len({mixer_colour(name) for name in mixer_names()}) == len(mixer_names())
    assert mixer_colour(hostile_mixer) not in MIXER_COLOURS.values()


def test_inks_can_be_swapped_by_value() -> None:
    values = [getattr(LIGHT, name) for name in LIGHT.__slots__]
    assert len(set(values)) == len(values)
    hues = {mixer_colour(name) for name in mixer_names()}
    assert not set(values) & (hues | {ink_on(hue) for hue in hues})
    assert replace(LIGHT) != DARK

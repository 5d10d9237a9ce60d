from dataclasses import replace
from xml.etree import ElementTree

import pytest

from spach_nas.errors import ArchitectureError
from spach_nas.report.drawing import common_width, draw, drawn_width
from spach_nas.report.theme import (
    DARK,
    LIGHT,
    MIXER_COLOURS,
    Inks,
    ink_on,
    mixer_colour,
    mixer_letter,
)
from spach_nas.space import mixers
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.mixers import MixerCost, MixerSpec, mixer_names, register_mixer
from spach_nas.space.references import REFERENCES
from study_factory import make_record

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


def own_mixer(name: str, short: str) -> str:
    register_mixer(
        MixerSpec(name=name, short=short, cost=lambda site: MixerCost(0, 0, 0), module=None)
    )
    return name


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mixers of a test are forgotten after it."""
    monkeypatch.setattr(mixers.MIXERS, "known", dict(mixers.MIXERS))


@pytest.fixture
def hostile_mixer(registry: None) -> str:
    return own_mixer(HOSTILE, "<b>")


def one_stage(*names: str, width: int = 8, stem: str = "conv1") -> Architecture:
    stage = Stage(mixers=names, width=width, heads=2, expansion_ratio=2)
    return Architecture(stem=stem, patch_size=4, stages=(stage,))


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
    svg = draw(one_stage("conv", width=4096), full_width=64)
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
    svg = draw(one_stage(hostile_mixer, "conv"))
    root = ElementTree.fromstring(svg)
    assert not list(root.iter(f"{SVG}script"))
    assert any(HOSTILE in text for text in root.itertext())


def test_heads_are_told_where_a_mixer_has_any() -> None:
    words = list(ElementTree.fromstring(draw("hybrid_ms_s")).itertext())
    assert words.count("4 heads") == 3  # the first stage has none
    assert "2 heads" not in list(ElementTree.fromstring(draw(one_stage("conv"))).itertext())


@pytest.mark.parametrize(
    ("widths", "full"),
    [((8, 8), 64), ((64, 64), 64), ((32, 128), 256), ((512, 1024), 1024), ((2048, 66), 4096)],
)
def test_a_common_scale_is_the_next_power_of_four(widths: tuple[int, int], full: int) -> None:
    assert common_width([one_stage("conv", width=width) for width in widths]) == full


def test_drawings_of_one_scale_compare() -> None:
    small, large = one_stage("conv", width=256), one_stage("conv", width=1024)
    heights = [
        float(blocks(draw(item, full_width=1024))[0][1].get("height")) for item in (small, large)
    ]
    assert heights[1] == pytest.approx(2 * heights[0])


def test_forty_blocks_and_one_are_drawn(registry: None) -> None:
    many = one_stage(*("conv", "attention", "mlp", "conv") * 10, stem="conv4")
    assert len(blocks(draw(many))) == 40
    assert len(blocks(draw(one_stage("mlp")))) == 1


def test_an_architecture_a_record_and_a_name_are_drawn_alike() -> None:
    architecture = REFERENCES["conv_ms_xxs"].architecture
    assert draw(architecture) == draw("conv_ms_xxs") == draw(make_record(0, 0.5))
    with pytest.raises(ArchitectureError, match="did you mean 'conv_ms_xxs'"):
        draw("conv_ms_xxss")


def test_notebooks_show_a_drawing_and_files_hold_it() -> None:
    drawing = draw("conv_ms_xxs")
    assert isinstance(drawing, str)
    assert str(drawing) in drawing._repr_html_()
    assert ElementTree.fromstring(drawing._repr_svg_()).tag == f"{SVG}svg"


def test_a_screen_reader_is_told_what_is_drawn() -> None:
    root = ElementTree.fromstring(draw("hybrid_ms_s_plus"))
    assert [child.tag for child in root][:2] == [f"{SVG}title", f"{SVG}desc"]
    assert root[0].text.startswith("conv3 | conv2+attn2 | conv2+attn10 | conv1+attn2, stem conv4")
    stage = "14\N{MULTIPLICATION SIGN}14 positions, 512 channels, expansion ratio 3, 4 heads"
    assert f"Stage 3: {stage}; blocks: 2 conv, 10 attention." in root[1].text


def test_letters_and_colours_do_not_depend_on_the_order_of_plugins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = {"pool": "pool", "average": "avg", "hostile": "<>", "hybrid": "conv"}
    seen = []
    for order in (list(names), list(reversed(names))):
        with monkeypatch.context() as patch:
            patch.setattr(mixers.MIXERS, "known", dict(mixers.MIXERS))
            for name in order:
                own_mixer(name, names[name])
            known = sorted(mixer_names())
            seen.append({name: (mixer_letter(name), mixer_colour(name)) for name in known})
            assert len({mixer_letter(name) for name in known}) == len(known)
            assert len({mixer_colour(name) for name in known}) == len(known)
    assert seen[0] == seen[1]
    assert [seen[0][name][0] for name in ("conv", "attention", "mlp", "pool", "average")] == [
        *"camp",
        "v",
    ]


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

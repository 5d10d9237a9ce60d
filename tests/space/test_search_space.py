import copy
import math
import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.stats import chisquare

from effort import some_or_all, thorough
from small_spaces import PLAIN, SPACES, encodings, enumerate_space
from spach_nas.config.shipped import shipped_folder
from spach_nas.errors import SearchSpaceError
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import REFERENCES, get_reference
from spach_nas.space.search_space import SearchSpace

MULTI_STAGE = [name for name in REFERENCES if "_ms_" in name]
SINGLE_STAGE = [name for name in REFERENCES if "_ms_" not in name]
HYBRID = get_reference("hybrid_ms_s").architecture


def shipped(name: str) -> SearchSpace:
    return SearchSpace.from_yaml(shipped_folder() / f"{name}.yaml")


@pytest.mark.parametrize("name", SPACES)
def test_size_is_the_number_of_distinct_architectures(name: str) -> None:
    space = SPACES[name]
    assert space.size() == len(enumerate_space(space))
    assert space.encodings() == sum(1 for _ in encodings(space))


@pytest.mark.parametrize("name", SPACES)
def test_encodings_are_canonical_and_give_the_architecture_back(name: str) -> None:
    space = SPACES[name]
    for architecture in enumerate_space(space)[:1000]:
        encoding = space.encode(architecture)
        assert space.contains(architecture)
        assert space.decode(encoding) == architecture
        assert list(encoding) == list(space.parameters)
        assert all(value in space.parameters[key] for key, value in encoding.items())


@pytest.mark.parametrize("name", SPACES)
def test_copies_have_the_encoding_of_their_architecture(name: str) -> None:
    space = SPACES[name]
    for encoding in random.Random(3).sample(list(encodings(space)), min(500, space.encodings())):
        architecture = space.decode(encoding)
        canonical = space.encode(architecture)
        assert space.decode(canonical) == architecture
        # What the network does not feel holds the first choice, so that equal networks are equal.
        assert space.encode(space.decode(canonical)) == canonical


@pytest.mark.parametrize("name", SPACES)
def test_an_architecture_is_outside_if_and_only_if_no_encoding_gives_it(name: str) -> None:
    inside = set(enumerate_space(SPACES[name]))
    for other in SPACES.values():
        architecture = random.Random(4).choice(enumerate_space(other))
        assert SPACES[name].contains(architecture) == (architecture in inside)
    rng = random.Random(5)
    for architecture in rng.sample(enumerate_space(SPACES[name]), min(30, len(inside))):
        last = architecture.stages[-1]
        for changed in (
            replace(last, expansion_ratio=rng.choice([1, 1.5, 2, 3])),
            replace(last, width=last.width * 2),
            replace(last, heads=1),
            replace(last, token_ratio=rng.choice([0.25, 0.75, 1])),
            replace(last, shared=not last.shared),
            replace(last, mixers=(*last.mixers, rng.choice(["conv", "mlp", "attention"]))),
            replace(last, mixers=last.mixers[::-1]),
        ):
            neighbour = replace(architecture, stages=(*architecture.stages[:-1], changed))
            assert SPACES[name].contains(neighbour) == (neighbour in inside)


UNIFORM = ["global ratio and sharing", "stages with choices of their own", "some trailing depths"]


@thorough
@pytest.mark.parametrize("name", some_or_all(UNIFORM[:1], UNIFORM))
def test_sampling_is_uniform_over_the_distinct_architectures(name: str) -> None:
    space = SPACES[name]
    rng = np.random.default_rng(11)
    size = space.size()
    drawn = Counter(space.sample(rng) for _ in range(some_or_all(5, 8) * size))
    assert set(drawn) <= set(enumerate_space(space))
    counts = list(drawn.values()) + [0] * (size - len(drawn))
    assert chisquare(counts).pvalue > 1e-4


def test_a_seed_gives_the_same_architecture_again() -> None:
    space = shipped("spach_ms")
    assert [space.sample(seed) for seed in range(20)] == [space.sample(seed) for seed in range(20)]
    assert len({space.sample(seed) for seed in range(20)}) == 20


@pytest.mark.parametrize("name", MULTI_STAGE)
@pytest.mark.parametrize("stem", ["conv1", "conv4"])
def test_spach_ms_holds_every_multi_stage_model_with_both_stems(name: str, stem: Any) -> None:
    space = shipped("spach_ms")
    architecture = replace(get_reference(name).architecture, stem=stem)
    assert space.contains(architecture)
    assert space.decode(space.encode(architecture)) == architecture


@pytest.mark.parametrize("name", SINGLE_STAGE)
def test_spach_ss_holds_every_single_stage_model(name: str) -> None:
    assert shipped("spach_ss").contains(get_reference(name).architecture)


def test_models_are_in_one_space_only() -> None:
    multi, single = shipped("spach_ms"), shipped("spach_ss")
    assert not any(multi.contains(get_reference(name).architecture) for name in SINGLE_STAGE)
    assert not any(single.contains(get_reference(name).architecture) for name in MULTI_STAGE)


@pytest.mark.parametrize("name", ["spach_ms", "spach_ss", "spach_tiny"])
def test_samples_of_a_shipped_space_are_in_it(name: str) -> None:
    space = shipped(name)
    for seed in range(200):
        architecture = space.sample(seed)
        assert space.decode(space.encode(architecture)) == architecture


def test_the_size_of_a_stage_is_that_of_the_design() -> None:
    # Depths 4 to 16 of three mixers: 1,287 encodings give 741 layouts without the pure copies.
    layout = {"leading": ["conv", "attention", "mlp"], "trailing": ["conv", "attention", "mlp"]}
    space = SearchSpace.from_dict(
        {
            "patch_size": 4,
            "expansion_ratio": 2,
            "stages": [{"depth": {"from": 4, "to": 16}, "width": 32, "mixers": layout}],
        }
    )
    assert space.size() == sum(3 + 6 * (depth - 1) for depth in range(4, 17))
    assert space.encodings() == 13 * 9 * 17


def test_numbers_beyond_a_float_are_counted_and_sampled() -> None:
    stage = {"depth": 200, "width": 32, "mixers": ["conv", "attention", "mlp"]}
    space = SearchSpace.from_dict({"patch_size": 4, "expansion_ratio": 2, "stages": [stage] * 4})
    assert space.size() == 3**800 > 1e308
    assert space.contains(space.sample(0))


def test_parameters_are_static_and_name_only_real_choices() -> None:
    assert list(shipped("spach_ms").parameters) == [
        *("stem", "expansion_ratio", "shared"),
        *("stage1.depth", "stage1.width"),
        *(
            f"stage{i}.{name}"
            for i in (2, 3, 4)
            for name in ("depth", "leading", "trailing", "trailing_depth")
        ),
    ]


def test_a_multiple_may_be_a_fraction() -> None:
    plain = copy.deepcopy(PLAIN["layouts and free blocks"])
    plain["heads"] = 1
    plain["stages"][0]["width"] = 100
    plain["stages"][1]["width"] = {"times": [1.1, 1.5]}  # 100 * 1.1 is 110.00000000000001
    space = SearchSpace.from_dict(plain)
    assert {space.sample(seed).stages[1].width for seed in range(30)} == {110, 150}
    assert all(space.contains(space.sample(seed)) for seed in range(30))


OUTSIDE = [
    ({"stages": HYBRID.stages[:3]}, "3 stages; expected 4"),
    ({"image_size": (224, 448)}, "image_size: 224x448; expected a square"),
    ({"image_size": (256, 256)}, "image_size: 256; expected 224"),
    ({"in_channels": 1}, "in_channels: 1; expected 3"),
    ({"num_classes": 10}, "num_classes: 10; expected 1000"),
    ({"patch_size": 2}, "patch_size: 2; expected 4"),
    ({"stem": "conv4", "stem_width": 32}, "stem_width: 32; expected 64"),
]
OUTSIDE_STAGES = [
    (0, {"mixers": ("conv",) * 5}, "stage1.depth: 5; expected 1, 2, 3 or 4"),
    (0, {"mixers": ("mlp",)}, "stage1.mixers: mlp1; expected an arrangement of conv"),
    (1, {"mixers": ("conv", "mlp", "conv")}, "stage2.mixers: conv1+mlp1+conv1; expected an arr"),
    (0, {"width": 224, "heads": 7}, "stage1.width: 224; expected 32, 64"),
    (2, {"width": 768, "heads": 4}, "stage3.width: 3.0; expected 2.0"),
    (1, {"heads": 8}, "no choice gives it"),
    (1, {"shared": True}, "no choice gives it"),
    (3, {"expansion_ratio": 2.5}, "no choice gives it"),
    (0, {"expansion_ratio": 2.5}, "expansion_ratio: 2.5; expected 2.0, 3.0 or 4.0"),
]


def assert_outside(architecture: Architecture, message: str) -> None:
    space = shipped("spach_ms")
    assert not space.contains(architecture)
    with pytest.raises(SearchSpaceError) as raised:
        space.encode(architecture)
    assert f"is outside of the space: {message}" in str(raised.value)


@pytest.mark.parametrize(("changes", "message"), OUTSIDE)
def test_an_architecture_outside_is_told_by_what(changes: dict, message: str) -> None:
    assert_outside(replace(HYBRID, **changes), message)


@pytest.mark.parametrize(("index", "changes", "message"), OUTSIDE_STAGES)
def test_a_stage_outside_is_told_by_what(index: int, changes: dict, message: str) -> None:
    stages = list(HYBRID.stages)
    stages[index] = replace(stages[index], **changes)
    assert_outside(replace(HYBRID, stages=tuple(stages)), message)


def test_an_encoding_must_be_complete_and_legal() -> None:
    space = SPACES["some trailing depths"]
    encoding = space.encode(space.sample(0))
    assert space.decode({**encoding, "anything": 3}) == space.sample(0)
    with pytest.raises(SearchSpaceError, match=r"stage1.depth is missing; expected 1, 2 or 4"):
        space.decode({k: v for k, v in encoding.items() if k != "stage1.depth"})
    with pytest.raises(SearchSpaceError, match=r"stage1.depth: 3; expected 1, 2 or 4"):
        space.decode({**encoding, "stage1.depth": 3})


# Each line: where, the bad value, and the start of the message.
BAD: list[tuple[tuple[str | int, ...], Any, str]] = [
    (("stem",), [], "stem: is an empty choice; expected at least one value"),
    (("stem",), "conv5", "stem: 'conv5'; expected conv1 or conv4; did you mean"),
    (("stem",), ["conv1", "conv1"], "stem: 'conv1' is repeated; expected distinct values"),
    (("stem_width",), 0, "stem_width: 0; expected more than 0"),
    (("stem_width",), [8, True], "stem_width[1]: True; expected a number"),
    (
        ("image_size",),
        20,
        "image_size: 20 with patch_size 2 and 3 stages; expected a multiple of 8",
    ),
    (("image_size",), 8.5, "image_size: 8.5; expected a whole number"),
    (("image_size",), [[8]], "image_size[0]: [8]; expected a whole number"),
    (("image_size",), "32px", "image_size: '32px'; expected a whole number"),
    (("image_size",), 8, "stages[2].mixers: mlp on 1 positions; expected at least 2"),
    (("patch_size",), 0, "patch_size: 0; expected more than 0"),
    (("patch_size",), None, "patch_size: None; expected a whole number"),
    (("patch_size",), 1, "patch_size: 1 with a conv4 stem; expected an even number"),
    (("in_channels",), 0, "in_channels: 0; expected at least 1"),
    (("num_classes",), -1, "num_classes: -1; expected at least 1"),
    (("num_classes",), [10, 20], "num_classes: [10, 20]; expected a whole number"),
    (("expansion_ratio",), 0, "expansion_ratio: 0.0; expected more than 0"),
    (("expansion_ratio",), math.nan, "expansion_ratio: nan; expected a finite number"),
    (("expansion_ratio",), math.inf, "expansion_ratio: inf; expected a finite number"),
    (("expansion_ratio",), 0.01, "stages[0]: expansion_ratio 0.01 of width 16 leaves no hidden"),
    (("token_ratio",), [0.5, 0.01], "stages[1]: token_ratio 0.01 of 64 positions leaves no hidden"),
    (("heads",), {}, "heads.width_per_head: is missing"),
    (("heads",), {"width_per_head": 0}, "heads.width_per_head: 0; expected at least 1"),
    (("heads",), {"width_per_head": 5}, "stages[0].width: 16 with 5 channels a head; expected a"),
    (("heads",), {"width_per_head": 4, "of": "all"}, "heads.of: 'all'; expected stage1 or stage"),
    (("heads",), 3, "stages[0].width: 16 with 3 heads; expected a multiple of 3"),
    (("heads",), 0, "heads: 0; expected more than 0"),
    (("heads",), "four", "heads: 'four'; expected a whole number"),
    (("shared",), "maybe", "shared: 'maybe'; expected true or false"),
    (("stages",), [], "stages: (); expected at least one stage"),
    (("stages",), "many", "stages: 'many'; expected a list"),
    (("stages", 0), 3, "stages[0]: 3; expected a mapping of keys to values"),
    (("stages", 0, "depth"), 0, "stages[0].depth: 0; expected more than 0"),
    (("stages", 0, "depth"), [2, -1], "stages[0].depth: -1; expected more than 0"),
    (("stages", 0, "depth"), 10**30, "stages[0].depth: 10000"),
    (("stages", 0, "depth"), 1000, "stages[0].depth: 1000; expected at most 200"),
    (("stages", 0, "depth"), {"from": 3, "to": 1}, "stages[0].depth: {'from': 3, 'to': 1} is an e"),
    (("stages", 0, "depth"), {"from": 1, "to": 10**9}, "stages[0].depth: {'from': 1, 'to': 1000"),
    (("stages", 0, "depth"), {"from": 1, "to": 3, "step": 0}, "stages[0].depth: {'from': 1, 'to'"),
    (("stages", 0, "depth"), {"from": 1, "till": 3}, "stages[0].depth: {'from': 1, 'till': 3}; ex"),
    (("stages", 0, "depth"), {"from": True, "to": 3}, "stages[0].depth: {'from': True, 'to': 3};"),
    (("stages", 0, "width"), {"times": 2}, "stages[0].width: times needs a stage before; expected"),
    (("stages", 0, "width"), 17, "stages[0].width: 17 with 16 channels a head; expected a multi"),
    (
        ("stages", 0, "mixers"),
        "convv",
        "stages[0].mixers: unknown mixer 'convv'; expected conv, at",
    ),
    (("stages", 0, "mixers"), [], "stages[0].mixers: is an empty choice"),
    (("stages", 0, "widht"), 3, "stages[0].widht: unknown key; expected depth, expansion_ratio"),
    (("stages", 1, "width"), {"time": 2}, "stages[1].width.time: unknown key; expected from, "),
    (("stages", 1, "width"), {"times": 1.03}, "stages[1].width: 1.03 times 16 channels is 16.48; "),
    (("stages", 1, "width"), {"times": -1}, "stages[1].width.times: -1.0; expected more than 0"),
    (("stages", 2, "mixers"), {"leading": "conv"}, "stages[2].mixers.trailing: is missing"),
    (
        ("stages", 2, "mixers", "leading"),
        "cnv",
        "stages[2].mixers.leading: unknown mixer 'cnv'; expected",
    ),
    (("stages", 2, "mixers", "trailing"), [], "stages[2].mixers.trailing: is an empty choice"),
    (
        ("stages", 2, "mixers", "trailing_depth"),
        -1,
        "stages[2].mixers.trailing_depth: -1; expected",
    ),
    (
        ("stages", 2, "heads"),
        {"width_per_head": -1},
        "stages[2].heads.width_per_head: -1; expected",
    ),
    (("imagesize",), 32, "imagesize: unknown key; expected expansion_ratio, heads, image_size"),
]


@pytest.mark.parametrize(("place", "value", "message"), BAD, ids=[line[2][:45] for line in BAD])
def test_bad_input_is_told_with_place_value_and_rule(
    tmp_path: Path, place: tuple[str | int, ...], value: Any, message: str
) -> None:
    plain = yaml.safe_load((shipped_folder() / "spach_tiny.yaml").read_text())
    inner = plain
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(plain, sort_keys=False))
    with pytest.raises(SearchSpaceError) as raised:
        SearchSpace.from_yaml(path)
    lines = str(raised.value).splitlines()
    place = rf"{re.escape(str(path))}(:\d+)?: "
    assert all(re.match(place, line) for line in lines)
    assert any(re.match(place + re.escape(message), line) for line in lines), lines


def test_a_ratio_must_stand_somewhere() -> None:
    plain = copy.deepcopy(PLAIN["no choice"])
    del plain["expansion_ratio"]
    with pytest.raises(SearchSpaceError, match=r"stages\[0\].expansion_ratio: is missing here"):
        SearchSpace.from_dict(plain)


def test_all_mistakes_are_told_at_once() -> None:
    plain = copy.deepcopy(PLAIN["layouts and free blocks"])
    plain["image_size"] = [16, 18, 22]
    plain["heads"] = 3
    with pytest.raises(SearchSpaceError) as raised:
        SearchSpace.from_dict(plain, where="f")
    assert [line.split(" ")[1] for line in str(raised.value).splitlines()] == [
        *("image_size:", "image_size:", "stages[0].width:", "stages[1].width:")
    ]

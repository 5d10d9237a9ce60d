import hashlib
import json
import math
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from effort import some_or_all, thorough
from spach_nas.errors import ArchitectureError
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.mixers import MixerCost, MixerSpec, get_mixer, mixer_names, register_mixer
from spach_nas.space.references import REFERENCES, get_reference
from strategies import architectures


def make_stage(**changes) -> Stage:
    plain = {"mixers": ("conv", "mlp"), "width": 12, "heads": 3, "expansion_ratio": 2}
    return Stage(**{**plain, **changes})


def make_architecture(**changes) -> Architecture:
    plain = {
        "stem": "conv1",
        "patch_size": 2,
        "stages": (make_stage(), make_stage(width=24)),
        "image_size": (16, 32),
    }
    return Architecture(**{**plain, **changes})


@given(architectures())
@settings(max_examples=60, deadline=None)
def test_dict_json_and_yaml_give_the_architecture_back(architecture: Architecture) -> None:
    plain = architecture.to_dict()
    for text in (plain, json.loads(json.dumps(plain)), yaml.safe_load(architecture.to_yaml())):
        found = Architecture.from_dict(text)
        assert found == architecture
        assert found.arch_id == architecture.arch_id
        assert hash(found) == hash(architecture)


def test_a_yaml_file_gives_the_architecture_back_however_deep_it_is(tmp_path: Path) -> None:
    # Longer than the lines at which YAML would break a flow mapping.
    deep = make_stage(mixers=("attention", "conv") * 2000)
    architecture = make_architecture(stages=(deep, make_stage()))
    path = tmp_path / "a.yaml"
    path.write_text(architecture.to_yaml())
    assert Architecture.from_yaml(path) == architecture
    assert len(path.read_text().splitlines()) == 8 + 2, "a head of eight lines and a line a stage"


def test_the_id_is_the_hash_of_the_canonical_json() -> None:
    stage = '{"expansion_ratio":2.0,"heads":3,"mixers":["conv","mlp"],"shared":false,'
    stage += '"token_ratio":0.5,"width":12}'
    text = (
        '{"image_size":[8,16],"in_channels":1,"num_classes":7,"patch_size":2,"schema":1,'
        f'"stages":[{stage}],"stem":"conv4","stem_width":6}}'
    )
    architecture = Architecture(
        stem="conv4",
        stem_width=6,
        patch_size=2,
        stages=(make_stage(),),
        image_size=(8, 16),
        in_channels=1,
        num_classes=7,
    )
    assert architecture.arch_id == hashlib.sha256(text.encode()).hexdigest()[:12]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"expansion_ratio": 2}, {"expansion_ratio": 2.0}),
        ({"token_ratio": 1}, {"token_ratio": 1.0}),
    ],
)
def test_equal_architectures_have_equal_ids(one: dict, other: dict) -> None:
    first = make_architecture(stages=(make_stage(**one),))
    second = make_architecture(stages=(make_stage(**other),))
    assert first == second
    assert first.arch_id == second.arch_id


@given(architectures(), architectures())
@settings(max_examples=40, deadline=None)
def test_ids_differ_as_architectures_do(one: Architecture, other: Architecture) -> None:
    assert (one.arch_id == other.arch_id) == (one == other)


def test_the_id_is_the_same_in_another_process() -> None:
    # Hashing of strings is seeded anew in each process.
    code = (
        "from spach_nas.space.references import REFERENCES;"
        "print(*(r.architecture.arch_id for r in REFERENCES.values()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [r.architecture.arch_id for r in REFERENCES.values()]


def test_every_model_of_the_paper_has_an_id_of_its_own() -> None:
    assert len({r.architecture.arch_id for r in REFERENCES.values()}) == len(REFERENCES) == 26


def test_it_reads_as_the_paper_writes_its_hybrids() -> None:
    assert (
        str(get_reference("hybrid_ms_s").architecture)
        == "conv3 | conv2+attn2 | conv2+attn10 | conv1+attn2"
    )


def test_runs_are_of_consecutive_blocks() -> None:
    stage = make_stage(mixers=("conv", "conv", "mlp", "conv"))
    assert stage.runs == (("conv", 2), ("mlp", 1), ("conv", 1))
    assert stage.depth == 4
    assert str(stage) == "conv2+mlp1+conv1"


def test_resolutions_halve_from_stage_to_stage() -> None:
    architecture = make_architecture(image_size=(64, 32), stages=(make_stage(),) * 4)
    assert architecture.resolutions == ((32, 16), (16, 8), (8, 4), (4, 2))


def test_it_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        make_stage().width = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("mixers", "token_ratio", "shared"),
    [
        (("conv", "conv"), 0.5, False),
        (("conv", "attention"), 0.5, False),
        (("attention", "attention"), 0.5, True),
        (("mlp", "attention"), 0.25, False),
        (("mlp", "conv", "mlp"), 0.25, True),
    ],
)
def test_fields_without_effect_hold_their_default(
    mixers: tuple[str, ...], token_ratio: float, shared: bool
) -> None:
    stage = make_stage(mixers=mixers, token_ratio=0.25, shared=True)
    assert (stage.token_ratio, stage.shared) == (token_ratio, shared)


def test_a_conv1_stem_has_no_inner_width() -> None:
    assert make_architecture(stem_width=8) == make_architecture(stem_width=16)
    deep = make_architecture(stem="conv4", stem_width=8)
    assert deep != replace(deep, stem_width=16)


BAD_STAGES = [
    ({"mixers": ()}, "mixers: (); expected at least one block"),
    ({"mixers": ("convv",)}, "unknown mixer 'convv'; expected conv, attention or mlp; did you"),
    ({"width": 13}, "width: 13 with 3 heads; expected a multiple of the heads"),
    ({"width": 0}, "width: 0 with 3 heads"),
    ({"width": -3}, "width: -3 with 3 heads"),
    ({"heads": 0}, "width: 12 with 0 heads"),
    ({"heads": -3}, "width: 12 with -3 heads"),
    ({"expansion_ratio": 0.08}, "leaves no hidden channel; expected at least one"),
    ({"expansion_ratio": -1}, "expansion_ratio: -1"),
    ({"expansion_ratio": math.nan}, "expansion_ratio: nan"),
    ({"expansion_ratio": math.inf}, "expansion_ratio: inf"),
    ({"token_ratio": 0}, "token_ratio: 0; expected more than 0"),
    ({"token_ratio": math.nan}, "token_ratio: nan"),
    ({"token_ratio": math.inf}, "token_ratio: inf"),
]
BAD_ARCHITECTURES = [
    ({"stem": "conv3"}, "stem: 'conv3'; expected conv1 or conv4"),
    ({"stages": ()}, "stages: (); expected at least one stage"),
    ({"stem": "conv4", "stem_width": 0}, "stem_width: 0; expected at least 1"),
    ({"patch_size": 0}, "patch_size: 0; expected at least 1"),
    ({"in_channels": 0}, "in_channels: 0; expected at least 1"),
    ({"num_classes": -1}, "num_classes: -1; expected at least 1"),
    ({"stem": "conv4", "patch_size": 1}, "patch_size: 1 with a conv4 stem; expected an even"),
    (
        {"image_size": (16, 30)},
        "image_size: 16x30 with patch_size 2 and 2 stages; expected a multiple of 4",
    ),
    ({"image_size": (0, 16)}, "image_size: 0x16"),
    ({"image_size": (-16, 16)}, "image_size: -16x16"),
    ({"image_size": (4, 4)}, "stages[1].mixers: mlp on 1 positions; expected at least 2"),
    (
        {"image_size": (4, 8), "stages": (make_stage(token_ratio=0.1),)},
        "stages[0].token_ratio: 0.1 of 8 positions leaves no hidden token",
    ),
]


@pytest.mark.parametrize(("changes", "message"), BAD_STAGES)
def test_a_stage_that_no_network_has_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ArchitectureError) as raised:
        make_stage(**changes)
    assert message in str(raised.value)


@pytest.mark.parametrize(("changes", "message"), BAD_ARCHITECTURES)
def test_an_architecture_that_no_network_has_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ArchitectureError) as raised:
        make_architecture(**changes)
    assert message in str(raised.value)


BAD_DATA = [
    (
        ["stages", 1, "widht"],
        24,
        "f: stages[1].widht: unknown key; expected expansion_ratio, heads",
    ),
    (["pach_size"], 4, "f: pach_size: unknown key"),
    (["stages", 0, "width"], "wide", "f: stages[0].width: 'wide'; expected a whole number"),
    (["stages", 0, "width"], True, "f: stages[0].width: True; expected a number"),
    (["stages", 0, "width"], 13, "f: stages[0].width: 13 with 3 heads; expected a multiple"),
    (["stages", 0, "expansion_ratio"], math.inf, "f: stages[0].expansion_ratio: inf; expected a f"),
    (["stages", 0, "mixers"], "conv", "f: stages[0].mixers: 'conv'; expected a list"),
    (["stages", 0, "mixers"], [["conv"]], "f: stages[0].mixers[0]: ['conv']; expected a text"),
    (["stages", 1, "mixers"], ["attn"], "f: stages[1]: unknown mixer 'attn'"),
    (["stages"], {}, "f: stages: {}; expected a list"),
    (["stem"], "conv5", "f: stem: 'conv5'; expected conv1 or conv4; did you mean 'conv4'?"),
    (["image_size"], [16, 30], "f: image_size: 16x30 with patch_size 2"),
    (["image_size"], 1.5, "f: image_size: 1.5; expected a size such as 32 or 32x48"),
    (["num_classes"], 10**30, "f: num_classes: 10000"),
]


@pytest.mark.parametrize(("path", "value", "message"), BAD_DATA)
def test_bad_data_is_told_with_its_place(path: list, value: object, message: str) -> None:
    plain = make_architecture().to_dict()
    place = plain
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ArchitectureError) as raised:
        Architecture.from_dict(plain, where="f")
    assert str(raised.value).startswith(message)


def test_every_mistake_of_a_file_is_told(tmp_path: Path) -> None:
    plain = make_architecture().to_dict()
    plain["stem"] = "conv"
    del plain["patch_size"]
    plain["stages"][0]["heads"] = 5
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(plain))
    with pytest.raises(ArchitectureError) as raised:
        Architecture.from_yaml(path)
    lines = str(raised.value).splitlines()
    assert len(lines) == 3
    assert all(re.match(rf"{re.escape(str(path))}(:\d+)?: ", line) for line in lines)
    assert any("patch_size: is missing" in line for line in lines)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
@thorough
@settings(max_examples=some_or_all(15, 100), deadline=None)
def test_no_value_of_a_field_ends_in_a_traceback(value: object) -> None:
    for name in make_architecture().to_dict():
        plain = {**make_architecture().to_dict(), name: value}
        try:
            Architecture.from_dict(plain)
        except ArchitectureError as error:
            assert str(error)


def test_a_mixer_registered_twice_must_be_the_same() -> None:
    register_mixer(get_mixer("mlp"))
    other = MixerSpec(name="mlp", short="m", cost=lambda site: MixerCost(0, 0, 0), module=None)
    with pytest.raises(ArchitectureError, match="'mlp' is registered already"):
        register_mixer(other)
    assert mixer_names()[:3] == ("conv", "attention", "mlp")
    assert get_mixer("mlp").short == "mlp"


def test_an_unknown_model_of_the_paper_is_told_with_the_nearest() -> None:
    with pytest.raises(ArchitectureError, match="did you mean 'hybrid_ms_s'"):
        get_reference("hybrid_msx_s")

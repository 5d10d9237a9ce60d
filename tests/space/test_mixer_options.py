"""Options that mixers add to the YAML: in architectures, in spaces, counted by brute force."""

import random
from collections import Counter
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from scipy.stats import chisquare

from effort import with_slow
from small_spaces import SPACES, encodings
from spach_nas.cost.closed_form import cost
from spach_nas.cost.limits import Limits
from spach_nas.errors import ArchitectureError, SearchSpaceError
from spach_nas.feasible import FeasibleSet
from spach_nas.samplers.surrogate import features
from spach_nas.space import mixers
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.mixers import MixerCost, MixerSite, MixerSpec, register_mixer
from spach_nas.space.references import REFERENCES
from spach_nas.space.scaling import DataShape, ProxyRule, scale
from spach_nas.space.search_space import SearchSpace


def grow_cost(site: MixerSite) -> MixerCost:
    # A different cost for each value, so that no two options cost the same.
    taps, tied = int(site.option("taps")), bool(site.option("tied"))
    return MixerCost(taps * site.width, taps * site.width * site.tokens, 7 * taps + tied)


def tap_cost(site: MixerSite) -> MixerCost:
    taps = int(site.option("taps"))
    return MixerCost(taps**2 + 1, taps**2 * site.tokens, 3 * site.width)


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """`grow` reads two options, `tap` one of them, the built-in mixers none."""
    monkeypatch.setattr(mixers.MIXERS, "known", dict(mixers.MIXERS))
    taps, tied = (3, 5, 7), (False, True)
    for name, declared, function in (
        ("grow", {"taps": taps, "tied": tied}, grow_cost),
        ("tap", {"taps": taps}, tap_cost),
    ):
        register_mixer(
            MixerSpec(
                name=name, short=name, cost=function, module="nowhere:Class", options=declared
            )
        )


def stage(*names: str, **options: object) -> Stage:
    return Stage(mixers=names, width=8, heads=2, expansion_ratio=2, options=tuple(options.items()))


def test_equal_networks_are_equal_values() -> None:
    # Defaults are filled in, numbers are those declared, and what nothing reads is left out.
    assert stage("grow").options == (("taps", 3), ("tied", False))
    assert stage("grow", tied=True).options == (("taps", 3), ("tied", True))
    assert stage("tap", tied=True, taps=5.0).options == (("taps", 5),)
    assert type(stage("tap", taps=5.0).options[0][1]) is int
    assert stage("tap", taps=3) == stage("tap") != stage("tap", taps=5)
    assert stage("conv", taps=5) == stage("conv")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"taps": 4}, "options.taps: 4; expected 3, 5 or 7"),
        ({"tied": 1}, "options.tied: 1; expected False or True"),
        ({"taps": True}, "options.taps: True; expected 3, 5 or 7"),
        ({"tap": 3}, "options.tap: unknown option; expected taps or tied; did you mean 'taps'?"),
        ({"taps": 4, "tied": 2}, "options.taps: 4; expected 3, 5 or 7\noptions.tied: 2; expected"),
    ],
)
@pytest.mark.parametrize("mixer", ["grow", "conv"])
def test_what_no_mixer_declares_is_a_mistake(
    mixer: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ArchitectureError) as error:
        stage(mixer, **options)
    assert str(error.value).startswith(message)


def architecture(*stages: Stage) -> Architecture:
    return Architecture(stem="conv1", patch_size=4, stages=stages, image_size=(32, 48))


def test_options_go_to_plain_data_and_back_and_are_part_of_the_id() -> None:
    plain = architecture(stage("conv"), stage("conv", "grow", taps=7)).to_dict()
    assert "options" not in plain["stages"][0]
    assert plain["stages"][1]["options"] == {"taps": 7, "tied": False}
    found = Architecture.from_dict(plain)
    assert found.to_dict() == plain
    assert found == architecture(stage("conv"), stage("conv", "grow", taps=7))
    ids = {architecture(stage("grow", taps=taps)).arch_id for taps in (3, 5, 7)}
    assert len(ids) == 3


def test_options_survive_a_file(tmp_path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(architecture(stage("grow", tied=True)).to_yaml())
    assert Architecture.from_yaml(path) == architecture(stage("grow", tied=True))


def test_architectures_without_options_keep_their_files_and_ids() -> None:
    # The id of the paper's model, from the definition in the design: no field was added to it.
    for reference in REFERENCES.values():
        assert all("options" not in plain for plain in reference.architecture.to_dict()["stages"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["taps"], "f: stages[0].options: ['taps']; expected a mapping of options to values"),
        ({1: 2}, "f: stages[0].options: {1: 2}; expected a mapping of options to values"),
        ({"taps": [3]}, "f: stages[0].options.taps: [3]; expected a number, a text, true or false"),
        ({"taps": 4}, "f: stages[0].options.taps: 4; expected 3, 5 or 7"),
    ],
)
def test_mistakes_in_a_file_are_told_with_their_place(given: object, message: str) -> None:
    plain = architecture(stage("grow")).to_dict()
    plain["stages"][0]["options"] = given
    with pytest.raises(ArchitectureError) as error:
        Architecture.from_dict(plain, where="f")
    assert str(error.value) == message


def test_the_surrogate_sampler_tells_options_apart() -> None:
    declared = {"taps": (3, 5, 7), "tied": (False, True), "kind": ("a", "b")}
    register_mixer(
        MixerSpec(name="all", short="all", cost=tap_cost, module="nowhere:Class", options=declared)
    )
    for name, values in declared.items():
        given = [architecture(stage("all", **{name: value})) for value in values]
        # Of one cost, so that nothing but the option differs.
        rows = features(given, np.ones((len(given), 4)))
        assert len(np.unique(rows, axis=0)) == len(values)


def test_a_proxy_keeps_the_options() -> None:
    target = architecture(stage("grow", "tap", taps=5, tied=True))
    rule = ProxyRule(image_size=(16, 16), width_scale=0.5)
    proxy = scale(target, rule, DataShape(in_channels=1, num_classes=3))
    assert proxy.stages[0].options == (("taps", 5), ("tied", True))


def test_the_cost_function_sees_the_options() -> None:
    N = 8 * 12
    small, large = (cost(architecture(stage("grow", taps=taps))) for taps in (3, 7))
    assert large.params - small.params == 4 * 8
    assert large.macs - small.macs == 4 * 8 * N


BASE = {"patch_size": 2, "image_size": 8, "expansion_ratio": 2, "heads": 2}
EVERY = {"leading": ["conv", "tap", "grow"], "trailing": ["conv", "grow", "mlp"]}
PLAIN = {
    "for all stages": {
        **BASE,
        "options": {"taps": [5, 3, 7], "tied": [True, False]},
        "stages": [
            {"depth": [1, 2], "width": 8, "mixers": ["conv", "tap", "grow"]},
            {"depth": [1, 2], "width": 4, "mixers": EVERY},
        ],
    },
    "for one stage": {
        **BASE,
        "stages": [
            {
                "depth": [1, 3],
                "width": 4,
                "mixers": ["conv", "tap", "grow"],
                "options": {"taps": [7, 3]},
            },
            {"depth": [1, 2], "width": 4, "mixers": EVERY},
        ],
    },
    "for all and for one": {
        **BASE,
        "token_ratio": [0.5, 1],
        "shared": [True, False],
        "options": {"taps": [3, 5], "tied": [False, True]},
        "stages": [
            {"depth": 2, "width": 4, "mixers": ["mlp", "grow"], "options": {"taps": [5, 7]}},
            {
                "depth": [1, 2],
                "width": {"times": [1, 2]},
                "mixers": EVERY,
                "options": {"tied": True},
                "shared": [False, True],
            },
        ],
    },
    "that nothing reads": {
        **BASE,
        "options": {"taps": [5, 7]},
        "stages": [{"depth": [1, 2], "width": 4, "mixers": "conv", "options": {"tied": [True]}}],
    },
    "each stage its own": {
        **BASE,
        "options": {"taps": [3, 7]},
        "stages": [
            {"depth": [1, 2], "width": 4, "mixers": ["tap", "conv"], "options": {"taps": [3, 5]}},
            {"depth": [1, 2], "width": 4, "mixers": ["tap", "grow"], "options": {"taps": [7, 5]}},
        ],
    },
}


@pytest.fixture(params=with_slow(PLAIN, "for all and for one"))
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return SearchSpace.from_dict(PLAIN[request.param])


@cache
def enumerate_space(space: SearchSpace) -> list[Architecture]:
    found = {space.decode(encoding) for encoding in encodings(space)}
    return sorted(found, key=lambda architecture: architecture.arch_id)


def test_names_of_the_encoding_are_those_of_the_yaml() -> None:
    space = SearchSpace.from_dict(PLAIN["for all and for one"])
    names = [name for name in space.parameters if name.endswith(("taps", "tied"))]
    assert names == ["taps", "tied", "stage1.taps"]
    assert "taps" not in SearchSpace.from_dict(PLAIN["each stage its own"]).parameters


def test_size_is_the_number_of_distinct_architectures(space: SearchSpace) -> None:
    every = enumerate_space(space)
    assert space.size() == len(every)
    assert FeasibleSet(space, Limits()).count == len(every)


def test_encodings_are_canonical(space: SearchSpace) -> None:
    every = list(encodings(space))
    for encoding in random.Random(1).sample(every, min(200, len(every))):
        found = space.decode(encoding)
        canonical = space.encode(found)
        assert space.decode(canonical) == found
        assert list(canonical) == list(space.parameters)
        assert all(value in space.parameters[name] for name, value in canonical.items())


def test_counts_inside_limits_are_those_of_an_enumeration(space: SearchSpace) -> None:
    every = [(architecture, cost(architecture)) for architecture in enumerate_space(space)]
    for field in ("macs", "params", "activations"):
        values = sorted(getattr(figures, field) for _, figures in every)
        low, high = values[len(values) // 4], values[3 * len(values) // 4]
        limits = Limits(**{f"min_{field}": low, f"max_{field}": high})
        inside = {item for item, figures in every if low <= getattr(figures, field) <= high}
        feasible = FeasibleSet(space, limits)
        assert feasible.count == len(inside)
        rng = np.random.default_rng(2)
        assert {feasible.sample(rng) for _ in range(40)} <= inside


@pytest.mark.parametrize("draw", with_slow(["space", "feasible"], "space"))
def test_sampling_is_uniform_over_the_distinct_architectures(draw: str) -> None:
    space = SearchSpace.from_dict(PLAIN["for one stage"])
    every = enumerate_space(space)
    values = sorted(cost(found).macs for found in every)
    limits = Limits(max_macs=values[len(values) // 3]) if draw == "feasible" else Limits()
    inside = {found for found in every if limits.allow(cost(found))}
    sample: Callable[[np.random.Generator], Architecture] = (
        FeasibleSet(space, limits).sample if draw == "feasible" else space.sample
    )
    rng = np.random.default_rng(5)
    drawn = Counter(sample(rng) for _ in range(5 * len(inside)))
    assert set(drawn) <= inside
    counts = list(drawn.values()) + [0] * (len(inside) - len(drawn))
    assert chisquare(counts).pvalue > 1e-4


def test_an_architecture_with_another_option_is_outside(space: SearchSpace) -> None:
    one = SearchSpace.from_dict(PLAIN["for one stage"])
    inside, every = set(enumerate_space(one)), enumerate_space(space)
    for found in random.Random(3).sample(every, min(15, len(every))):
        assert one.contains(found) == (found in inside)


@pytest.mark.parametrize(
    ("place", "given", "message"),
    [
        ((), {"taps": [3, 4]}, "space: options.taps: 4; expected 3, 5 or 7"),
        ((), {"tips": 3}, "space: options.tips: unknown option; expected taps or tied; did you"),
        ((), {"taps": []}, "space: options.taps: is an empty choice"),
        ((), {"taps": [3, 3]}, "space: options.taps: 3 is repeated; expected distinct values"),
        ((), {"taps": {"from": 3, "to": 4}}, "space: options.taps: 4; expected 3, 5 or 7"),
        ((), 3, "space: options: 3; expected a mapping of options to choices"),
        ((), {"taps": [[3]]}, "space: options.taps: [3]; expected a number, a text"),
        (("stages", 1), {"taps": 4}, "space: stages[1].options.taps: 4; expected 3, 5 or 7"),
    ],
)
def test_mistakes_in_a_space_are_told_with_their_place(
    place: tuple[str | int, ...], given: object, message: str
) -> None:
    plain = {**BASE, "stages": [{"depth": 1, "width": 4, "mixers": "tap"} for _ in range(2)]}
    node = plain
    for key in place:
        node = node[key]
    node["options"] = given
    with pytest.raises(SearchSpaceError) as error:
        SearchSpace.from_dict(plain)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_no_option_has_the_name_of_a_parameter() -> None:
    # What `register_mixer` refuses holds every name that a parameter of a space has.
    names = {name.rpartition(".")[2] for space in SPACES.values() for name in space.parameters}
    assert {name for name in names if not name.startswith("block")} <= mixers._TAKEN
    assert len(names) > 8

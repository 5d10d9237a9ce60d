import inspect
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler

from effort import with_slow
from search_tools import SPACE, drive, make_study
from spach_nas.config import sampler_registry
from spach_nas.config.objectives import OBJECTIVES
from spach_nas.config.plugins import load_plugins
from spach_nas.config.sampler_registry import SAMPLERS, SamplerSpec
from spach_nas.config.search_settings import OptionValue, SearchSettings
from spach_nas.cost.closed_form import cost
from spach_nas.cost.limits import Limits
from spach_nas.errors import ConfigError, PluginError
from spach_nas.feasible import FeasibleSet
from spach_nas.samplers.factories import check_sampler, make_factory
from spach_nas.samplers.feasible_sampler import FeasibleSampler, distributions
from spach_nas.space.search_space import SearchSpace
from spach_nas.space.stage_space import Encoding

BUILT_IN = ("random", "nsga2", "tpe", "gp", "evolution", "local", "surrogate")
OF_OPTUNA = ("GPSampler", "NSGAIIISampler", "NSGAIISampler", "QMCSampler", "RandomSampler")
OF_OPTUNA += ("TPESampler",)
ONE_OBJECTIVE = ("CmaEsSampler",)
LIMITS = Limits(max_macs=1_200_000)
BOTH = ("accuracy", "macs")


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return SearchSpace.from_dict(SPACE)


@cache
def feasible_in(space: SearchSpace) -> FeasibleSet:
    return FeasibleSet(space, LIMITS)


def settings(
    sampler: str, *, options: Mapping[str, OptionValue] | None = None, startup: int = 4
) -> SearchSettings:
    return SearchSettings(
        sampler=sampler, sampler_options=options or {}, trials=12, startup_trials=startup
    )


def check(space: SearchSpace, wanted: SearchSettings, goals: tuple[str, ...] = BOTH) -> None:
    check_sampler(
        wanted, feasible=feasible_in(space), objectives=[OBJECTIVES[name] for name in goals]
    )


def make(
    space: SearchSpace, wanted: SearchSettings, *, seed: int = 1, goals: tuple[str, ...] = BOTH
) -> BaseSampler | None:
    objectives = [OBJECTIVES[name] for name in goals]
    return make_factory(wanted, feasible=feasible_in(space), objectives=objectives)(seed)


def directions(goals: tuple[str, ...]) -> list[str]:
    return ["maximize" if OBJECTIVES[name].direction == "max" else "minimize" for name in goals]


def search(space: SearchSpace, name: str, *, goals: tuple[str, ...], seed: int) -> list[Encoding]:
    """Twelve proposals, each told a score before the next."""
    objectives = [OBJECTIVES[goal] for goal in goals]
    startup = 11 if name in ("gp", "GPSampler") else 4  # a proposal of theirs takes long
    feasible = feasible_in(space)
    sampler = FeasibleSampler(
        make_factory(settings(name, startup=startup), feasible=feasible, objectives=objectives),
        feasible=feasible,
        startup=startup,
        seed=seed,
    )
    study = optuna.create_study(directions=directions(goals), sampler=sampler)
    asked = []
    for number in range(12):
        sampler.number = number
        trial = study.ask(distributions(space))
        macs = cost(space.decode(trial.params)).macs
        study.tell(trial, [macs**0.25, float(macs)][: len(goals)])
        asked.append(trial.params)
    return asked


@pytest.mark.parametrize(
    ("name", "goals"),
    with_slow(
        [
            *((name, BOTH) for name in (*BUILT_IN, *OF_OPTUNA)),
            *((name, BOTH[:1]) for name in ONE_OBJECTIVE),
        ],
        ("GPSampler", BOTH),
    ),
)
def test_every_sampler_proposes_what_is_feasible_and_new(
    space: SearchSpace, name: str, goals: tuple[str, ...]
) -> None:
    check(space, settings(name), goals)
    asked = search(space, name, goals=goals, seed=2)
    found = [space.decode(encoding) for encoding in asked]
    assert len({architecture.arch_id for architecture in found}) == 12
    assert all(LIMITS.allow(cost(architecture)) for architecture in found)


@pytest.mark.parametrize(
    "name",
    with_slow([*BUILT_IN[:3], *BUILT_IN[4:], "QMCSampler", "NSGAIIISampler"], "surrogate", "local"),
)
def test_the_seed_decides(space: SearchSpace, name: str) -> None:
    runs = [search(space, name, goals=BOTH, seed=seed) for seed in (2, 2, 3)]
    assert runs[0] == runs[1] != runs[2]


def test_every_sampler_of_optuna_works_or_says_why_not(space: SearchSpace) -> None:
    works = set()
    for name, kind in vars(optuna.samplers).items():
        if not inspect.isclass(kind) or not issubclass(kind, BaseSampler):
            continue
        try:
            check(space, settings(name))
            works.add(name)
        except ConfigError as problem:
            assert str(problem).startswith(f"search.sampler: {name}") or repr(name) in str(problem)
            assert "; expected" in str(problem)
    assert works == {*OF_OPTUNA}


@pytest.mark.parametrize(
    ("name", "goals", "message"),
    [
        ("TPSample", BOTH, "sampler: 'TPSample'; expected random, nsga2, tpe, "),
        ("TPSampler", BOTH, "search.sampler: 'TPSampler'; expected of optuna.samplers"),
        ("TPSampler", BOTH, "; did you mean 'TPESampler'?"),
        ("BaseSampler", BOTH, "search.sampler: 'BaseSampler'; expected of optuna.samplers"),
        ("GridSampler", BOTH, "search.sampler: 'GridSampler'; expected of optuna.samplers"),
        ("PartialFixedSampler", BOTH, "search.sampler: 'PartialFixedSampler'; expected of optuna"),
        ("BruteForceSampler", BOTH, "search.sampler: 'BruteForceSampler'; expected of optuna"),
        ("CmaEsSampler", BOTH, "search.sampler: CmaEsSampler cannot propose for this space and "),
        ("CmaEsSampler", BOTH, "and accuracy, macs: ValueError: If the study is being used for mu"),
    ],
)
def test_a_sampler_that_cannot_be_used_is_explained(
    space: SearchSpace, name: str, goals: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        check(space, settings(name), goals)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("random", {"seed": 1}, ".seed: random has no such option; expected none"),
        ("nsga2", {"seed": 1}, ".seed: nsga2 has no such option; expected population_size, "),
        ("nsga2", {"population": 8}, "; did you mean 'population_size'?"),
        ("nsga2", {"mutation": None}, ".mutation: nsga2 has no such option"),
        ("nsga2", {"population_size": "8"}, ".population_size: '8'; expected a whole number"),
        ("nsga2", {"population_size": 8.0}, ".population_size: 8.0; expected a whole number"),
        ("nsga2", {"population_size": True}, ".population_size: True; expected a whole number"),
        ("nsga2", {"mutation_prob": "x"}, ".mutation_prob: 'x'; expected a number or null"),
        ("nsga2", {"population_size": 1}, "s: population_size: 1; expected what nsga2 takes: `p"),
        ("tpe", {"gamma": 3}, ".gamma: tpe has no such option"),
        ("tpe", {"constant_liar": 1}, ".constant_liar: 1; expected true or false"),
        ("gp", {"n_startup": 3}, "; did you mean 'n_startup_trials'?"),
        (
            "evolution",
            {"space": "x"},
            ".space: evolution has no such option; expected population o",
        ),
        (
            "evolution",
            {"tournament": 60},
            "takes: tournament from 1 to the population, which is 50",
        ),
        ("local", {"population": 1}, ".population: local has no such option; expected none"),
        ("QMCSampler", {"qmc_type": "sobel"}, "s: qmc_type: sobel; expected what QMCSampler takes"),
        (
            "NSGAIIISampler",
            {"reference_points": 3},
            ".reference_points: NSGAIIISampler has no such",
        ),
    ],
)
def test_a_wrong_option_is_explained(
    space: SearchSpace, name: str, options: dict[str, OptionValue], message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        check(space, settings(name, options=options))
    assert str(raised.value).startswith("search.sampler_option")
    assert message in str(raised.value)


def test_every_wrong_option_has_a_line(space: SearchSpace) -> None:
    with pytest.raises(ConfigError) as raised:
        check(space, settings("tpe", options={"gama": 1, "n_ei_candidates": "many"}))
    assert len(str(raised.value).splitlines()) == 2


def test_options_reach_the_sampler(space: SearchSpace) -> None:
    def size(name: str, **options: OptionValue) -> int:
        sampler = make(space, settings(name, options=options, startup=9))
        assert isinstance(sampler, optuna.samplers.BaseGASampler)
        return sampler.population_size

    assert size("nsga2") == 9
    assert size("nsga2", population_size=7) == 7
    assert size("nsga2", mutation_prob=None, crossover_prob=1) == 9
    assert size("NSGAIIISampler") == 50, "its own default"
    assert size("NSGAIIISampler", population_size=6) == 6
    assert make(space, settings("random")) is None
    smallest = make(space, settings("nsga2", startup=1))
    assert isinstance(smallest, optuna.samplers.BaseGASampler)
    assert smallest.population_size == 2


@pytest.mark.parametrize("name", ["tpe", "TPESampler", "gp"])
def test_a_model_takes_over_after_the_start_up(space: SearchSpace, name: str) -> None:
    study = optuna.create_study(directions=directions(BOTH))
    known = distributions(space)
    for complete in range(6):
        sampler = make(space, settings(name, startup=5))
        assert sampler is not None
        frozen = study.ask()._get_latest_trial()
        proposal = sampler.sample_relative(study, frozen, known)
        assert (set(proposal) == set(known)) == (complete >= 5)
        params = space.encode(space.sample(complete))
        values = [float(complete), 1.0 + complete % 3]
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=known, values=values)
        )


def test_a_built_in_sampler_is_not_tried(
    space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: object) -> None:
        raise AssertionError("takes seconds")

    monkeypatch.setattr(optuna.samplers.GPSampler, "sample_relative", slow)
    check(space, settings("gp"))
    with pytest.raises(ConfigError, match=r"GPSampler cannot propose .* takes seconds"):
        check(space, settings("GPSampler"))


OWN = """
import optuna
from spach_nas.config.sampler_registry import SamplerSpec, register_sampler

class Own(optuna.samplers.RandomSampler):
    def sample_relative(self, study, trial, search_space):
        done = [item for item in study.get_trials(deepcopy=False) if item.values]
        {body}

def make(request):
    return {made}

register_sampler(SamplerSpec(name="own", factory={factory!r}))
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a module `own_samplers` with a sampler, and brings it in as a plugin."""
    monkeypatch.setattr(SAMPLERS, "known", dict(SAMPLERS))
    monkeypatch.setattr("spach_nas.config.plugins.brought_in", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "own_samplers", ModuleType("own_samplers"))
    monkeypatch.delitem(sys.modules, "own_samplers")
    monkeypatch.chdir(tmp_path)

    def bring(
        body: str = "return {}", made: str = "Own(seed=1)", factory: str = "own_samplers:make"
    ) -> None:
        text = OWN.format(body=body, made=made, factory=factory)
        (tmp_path / "own_samplers.py").write_text(text)
        load_plugins(["own_samplers"])

    return bring


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"body": "return {'stage1.depth': 9}"},
            "SearchSpaceError: stage1.depth: 9; expected 1, 2",
        ),
        ({"body": "return {} if len(done) < 5 else 1 / 0"}, "ZeroDivisionError: division by zero"),
        ({"body": "return [][len(done) > 2]"}, "IndexError: list index out of range"),
        (
            {"made": "Own"},
            "TypeError: the factory gives <class 'own_samplers.Own'>, which is no sa",
        ),
        ({"made": "request.nothing"}, "AttributeError: 'SamplerRequest' object has no attribute"),
    ],
)
def test_an_own_sampler_that_cannot_propose_is_explained(
    space: SearchSpace, own: Any, changes: dict[str, str], message: str
) -> None:
    own(**changes)
    with pytest.raises(ConfigError) as raised:
        check(space, settings("own"))
    assert str(raised.value).startswith("search.sampler: own cannot propose for this space and ")
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("own_samplers:made", "module 'own_samplers' has no attribute 'made'"),
        ("own_samplers.nowhere:make", "No module named 'own_samplers.nowhere'"),
        (":make", "Empty module name"),
    ],
)
def test_a_factory_that_is_nowhere_is_explained(
    space: SearchSpace, own: Any, factory: str, message: str
) -> None:
    own(factory="own_samplers:make")
    spec = SamplerSpec(name="lost", factory=factory)
    sampler_registry.register_sampler(spec)
    with pytest.raises(PluginError) as raised:
        check(space, settings("lost"))
    assert str(raised.value).startswith(
        f"sampler 'lost': {factory!r} cannot be imported ({message}"
    )


def test_a_class_of_samplers_is_a_factory(space: SearchSpace, own: Any) -> None:
    own(factory="own_samplers:Own")
    check(space, settings("own"))
    with pytest.raises(ConfigError, match=r"sampler_options\.speed: own has no such option"):
        check(space, settings("own", options={"speed": 3}))


def test_a_space_may_have_fewer_architectures_than_a_check_asks_for() -> None:
    stage = {"depth": [1, 2], "width": 8, "mixers": "conv"}
    two = SearchSpace.from_dict(
        {"patch_size": 4, "expansion_ratio": 2, "heads": 2, "stages": [stage]}
    )
    assert two.size() == 2
    check_sampler(
        settings("NSGAIIISampler"),
        feasible=FeasibleSet(two, Limits()),
        objectives=[OBJECTIVES[name] for name in BOTH],
    )


def test_an_own_sampler_is_asked_for_what_it_leaves_out(space: SearchSpace, own: Any) -> None:
    own()
    check(space, settings("own"))


def test_a_factory_may_choose_uniform_proposals(space: SearchSpace, own: Any) -> None:
    own(made="None")
    check(space, settings("own"))


def test_a_study_is_searched_with_options(tmp_path: Path) -> None:
    study = make_study(
        tmp_path, search__sampler="evolution", search__sampler_options={"population": 10}
    )
    assert len(drive(study)) == 12

import math
from collections import Counter
from collections.abc import Sequence

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from effort import slow
from search_tools import SPACE
from spach_nas.cost.closed_form import cost
from spach_nas.cost.limits import Limits
from spach_nas.feasible import FeasibleSet
from spach_nas.samplers.evolution import LocalSearch, RegularisedEvolution
from spach_nas.samplers.feasible_sampler import FeasibleSampler, SamplerFactory, distributions
from spach_nas.space.architecture import Architecture
from spach_nas.space.search_space import SearchSpace
from spach_nas.space.stage_space import Encoding

# Wide in some choices, one block or two: 3 * 5 * (2 + 4) * 2 encodings.
TINY = {
    "image_size": 32,
    "patch_size": 4,
    "expansion_ratio": [2, 3, 4],
    "heads": 1,
    "stages": [
        {
            "depth": [1, 2],
            "width": [8, 16, 24, 32, 40],
            "mixers": {"leading": ["conv", "mlp"], "trailing": ["conv", "mlp"]},
        }
    ],
}


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return SearchSpace.from_dict(SPACE)


@pytest.fixture(scope="module")
def tiny() -> SearchSpace:
    return SearchSpace.from_dict(TINY)


def study_of(
    space: SearchSpace, encodings: Sequence[Encoding], values: Sequence[Sequence[float]]
) -> optuna.Study:
    directions = ["maximize", "minimize"][: len(values[0])]
    study = optuna.create_study(directions=directions)
    known = distributions(space)
    for params, given in zip(encodings, values, strict=True):
        study.add_trial(create_trial(params=params, distributions=known, values=given))
    return study


def ask(sampler: RegularisedEvolution | LocalSearch, study: optuna.Study) -> Encoding:
    trial = create_trial(state=TrialState.RUNNING)
    return sampler.sample_relative(study, trial, {})


def sample(space: SearchSpace, count: int) -> list[Encoding]:
    return [space.encode(space.sample(seed)) for seed in range(count)]


def distance(one: Encoding, other: Encoding) -> int:
    return sum(one[name] != other[name] for name in one)


def neighbours(space: SearchSpace, parent: Encoding) -> set[str]:
    """Other architectures that one choice away gives, by trying all."""
    found = {
        space.decode({**parent, name: value}).arch_id
        for name, values in space.parameters.items()
        for value in values
    }
    return found - {space.decode(parent).arch_id}


def arch_id(space: SearchSpace, encoding: Encoding) -> str:
    return space.decode(encoding).arch_id


@pytest.mark.parametrize("sampler", [RegularisedEvolution, LocalSearch])
def test_a_proposal_follows_from_the_trials_and_the_seed(
    space: SearchSpace, sampler: type[RegularisedEvolution | LocalSearch]
) -> None:
    encodings = sample(space, 20)
    values = [[float(i * 7 % 20), float(i)] for i in range(20)]
    study = study_of(space, encodings, values)
    first = [ask(sampler(space=space, seed=seed), study) for seed in range(8)]
    again = study_of(space, encodings, values)
    assert [ask(sampler(space=space, seed=seed), again) for seed in range(8)] == first
    assert len({arch_id(space, encoding) for encoding in first}) > 1
    assert study._storage.get_study_system_attrs(study._study_id) == {}
    assert all(not trial.system_attrs for trial in study.trials)


@pytest.mark.parametrize("sampler", [RegularisedEvolution, LocalSearch])
def test_any_encoding_is_proposed_while_nothing_is_complete(
    space: SearchSpace, sampler: type[RegularisedEvolution | LocalSearch]
) -> None:
    study = optuna.create_study(direction="maximize")
    study.add_trial(create_trial(state=TrialState.FAIL))
    found = [ask(sampler(space=space, seed=seed), study) for seed in range(60)]
    for name, values in space.parameters.items():
        assert {encoding[name] for encoding in found} == set(values)


def test_the_parent_is_the_best_of_the_last(space: SearchSpace) -> None:
    encodings = sample(space, 12)
    # The best of all is the oldest, the best of the last five the third last.
    values = [[v] for v in (99.0, 8, 7, 6, 5, 4, 3, 1.25, 2.0, 3.5, 0.5, 1.0)]
    study = study_of(space, encodings, values)
    for seed in range(40):
        sampler = RegularisedEvolution(space=space, seed=seed, population=5, tournament=5)
        assert distance(ask(sampler, study), encodings[9]) in (1, 2)
    without_age = RegularisedEvolution(space=space, seed=1, population=12, tournament=12)
    assert distance(ask(without_age, study), encodings[0]) in (1, 2)


def test_a_small_tournament_lets_others_win(tiny: SearchSpace) -> None:
    # All parents differ in many choices, so that a child tells whose it is.
    encodings = [
        {**tiny.encode(tiny.sample(1)), "stage1.width": width, "expansion_ratio": ratio}
        for width, ratio in ((8, 2), (16, 3), (24, 4))
    ]
    study = study_of(tiny, encodings, [[1.0], [3.0], [2.0]])

    def shares(tournament: int) -> list[float]:
        wins = Counter()
        for seed in range(300):
            sampler = RegularisedEvolution(
                space=tiny, seed=seed, population=3, tournament=tournament
            )
            child = ask(sampler, study)
            near = [i for i, parent in enumerate(encodings) if distance(child, parent) == 1]
            wins.update(near if len(near) == 1 else [])
        return [wins[i] / wins.total() for i in range(3)]

    assert all(share > 0.2 for share in shares(1))
    two = shares(2)  # the best is drawn in two of three pairs, the worst never wins
    assert two[0] < 0.02 and 0.5 < two[1] < 0.85
    assert shares(3)[1] > 0.95


def test_the_parent_is_of_the_first_front_and_the_least_crowded(space: SearchSpace) -> None:
    encodings = sample(space, 5)
    # To be maximised, to be minimised. The ends are older than the last three; of these the first
    # is dominated, and all of one front that are left are its ends: the earlier.
    values = [[0.9, 90.0], [0.1, 10.0], [0.4, 60.0], [0.5, 30.0], [0.6, 50.0]]
    study = study_of(space, encodings, values)
    child = ask(RegularisedEvolution(space=space, seed=3, population=3, tournament=3), study)
    assert distance(child, encodings[3]) in (1, 2)
    # Without the end at 0.1 the one at 0.9 is drawn against the middle: 0.5 is 60 of 80 away
    # from its neighbours, but no end.
    child = ask(RegularisedEvolution(space=space, seed=3, population=5, tournament=5), study)
    assert distance(child, encodings[0]) in (1, 2)


def test_a_mutation_changes_the_architecture_by_one_choice_or_two(tiny: SearchSpace) -> None:
    # In a pure stage three of the six parameters do nothing by themselves.
    parent = tiny.encode(tiny.decode(
        {"expansion_ratio": 3, "stage1.depth": 2, "stage1.width": 24, "stage1.leading": "conv",
         "stage1.trailing": "conv", "stage1.trailing_depth": 0}
    ))  # fmt: skip
    assert len(neighbours(tiny, parent)) < sum(len(v) - 1 for v in tiny.parameters.values())
    study = study_of(tiny, [parent], [[1.0]])
    children = [
        ask(RegularisedEvolution(space=tiny, seed=s, population=1, tournament=1), study)
        for s in range(400)
    ]
    assert arch_id(tiny, parent) not in {arch_id(tiny, child) for child in children}
    distances = Counter(distance(child, parent) for child in children)
    assert set(distances) == {1, 2}
    assert 0.05 < distances[2] / 400 < 0.4
    for name, values in tiny.parameters.items():
        assert {child[name] for child in children} == set(values)


def test_neighbours_of_the_best_are_proposed_once_each_and_then_anything(
    tiny: SearchSpace,
) -> None:
    start = sample(tiny, 6)
    study = study_of(tiny, start, [[v] for v in (3.0, 9.0, 1.0, 4.0, 2.0, 5.0)])
    before = {arch_id(tiny, encoding) for encoding in start}
    left = neighbours(tiny, start[1]) - before
    known = distributions(tiny)
    for seed in range(len(left)):
        found = ask(LocalSearch(space=tiny, seed=seed), study)
        left.remove(arch_id(tiny, found))
        # Whatever became of it, and while it is being trained.
        state = (TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING)[seed % 3]
        values = [1.0] if state == TrialState.COMPLETE else None
        study.add_trial(create_trial(params=found, distributions=known, values=values, state=state))
    assert not left
    restarts = {arch_id(tiny, ask(LocalSearch(space=tiny, seed=s), study)) for s in range(30)}
    assert len(restarts) > 15
    assert restarts - neighbours(tiny, start[1]) - before


def test_a_better_trial_becomes_the_next_parent(space: SearchSpace) -> None:
    encodings = sample(space, 8)
    study = study_of(space, encodings, [[float(v)] for v in (3, 9, 1, 4, 2, 5, 9.5, 7)])
    around = neighbours(space, encodings[6])
    for seed in range(20):
        assert arch_id(space, ask(LocalSearch(space=space, seed=seed), study)) in around


def test_an_ordered_choice_moves_mostly_by_one_step(tiny: SearchSpace) -> None:
    parent = {
        "expansion_ratio": 3, "stage1.depth": 2, "stage1.width": 16, "stage1.leading": "conv",
        "stage1.trailing": "mlp", "stage1.trailing_depth": 1,
    }  # fmt: skip
    assert tiny.encode(tiny.decode(parent)) == parent
    study = study_of(tiny, [parent], [[1.0]])
    widths = Counter(
        ask(LocalSearch(space=tiny, seed=seed), study)["stage1.width"] for seed in range(500)
    )
    moved = widths.total() - widths[16]
    # 8 and 24 are five times as likely as 32 and 40: 10 of 12.
    assert abs((widths[8] + widths[24]) / moved - 10 / 12) < 0.08
    assert min(widths.values()) > 0
    # All parameters change as often as others, however many choices they have.
    assert abs(moved / 500 - 1 / 6) < 0.05


def test_the_front_is_searched_where_the_fewest_neighbours_were_tried(
    space: SearchSpace,
) -> None:
    first, second, worse = sample(space, 3)
    known = distributions(space)
    study = study_of(space, [first, second, worse], [[0.9, 90.0], [0.5, 30.0], [0.4, 60.0]])
    around = [neighbours(space, encoding) for encoding in (first, second)]
    parents = set()
    for seed in range(40):
        found = arch_id(space, ask(LocalSearch(space=space, seed=seed), study))
        parents.add(tuple(found in near for near in around))
    assert parents == {(True, False), (False, True)}, "of both, never of the dominated one"
    neighbour = ask(LocalSearch(space=space, seed=0), study)
    near_first = arch_id(space, neighbour) in around[0]
    study.add_trial(create_trial(params=neighbour, distributions=known, values=[0.1, 95.0]))
    for seed in range(20):
        found = arch_id(space, ask(LocalSearch(space=space, seed=seed), study))
        assert found in around[1 if near_first else 0]


def accuracy(architecture: Architecture) -> float:
    """Larger is better, and attention worth more than it costs."""
    attention = sum(stage.mixers.count("attention") for stage in architecture.stages)
    return 0.5 + 0.02 * math.log(cost(architecture).macs) + 0.01 * attention


def last_scores(space: SearchSpace, make: SamplerFactory) -> float:
    """Mean accuracy of the last 32 of 80 proposals, 16 of which begin it."""
    feasible = FeasibleSet(space, Limits(max_macs=1_200_000))
    sampler = FeasibleSampler(make, feasible=feasible, startup=16, seed=3)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    scores = []
    for number in range(80):
        sampler.number = number
        trial = study.ask(distributions(space))
        scores.append(accuracy(space.decode(trial.params)))
        study.tell(trial, scores[-1])
    return sum(scores[-32:]) / 32


@slow
def test_both_beat_uniform_proposals(space: SearchSpace) -> None:
    uniform = last_scores(space, lambda seed: None)
    evolution = last_scores(space, lambda seed: RegularisedEvolution(space=space, seed=seed))
    local = last_scores(space, lambda seed: LocalSearch(space=space, seed=seed))
    assert min(evolution, local) > uniform + 0.005

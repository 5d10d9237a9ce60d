"""Training of a supernet: it learns, goes on bit for bit, goes back, and scores."""

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from effort import slow, with_slow
from spach_nas.config.supernet_settings import SupernetSettings
from spach_nas.errors import BundleError
from spach_nas.networks.supernet import Supernet, recalibrate
from spach_nas.space.architecture import Architecture
from spach_nas.space.scaling import DataShape, ProxyRule, scale
from spach_nas.space.search_space import SearchSpace
from spach_nas.training import global_seed, move, score_images
from spach_nas.training.learner import Place
from spach_nas.training.supernet_loop import (
    MOST_ROLLBACKS,
    SupernetResult,
    Tell,
    ends_of,
    load_supernet,
    make_scorer,
    shared_weights,
    train_supernet,
)
from training_tools import CPU, DATA, SETTINGS, state

SHAPE = DataShape(in_channels=1, num_classes=3)
SPACE = SearchSpace.from_dict(
    {
        "patch_size": 2,
        "image_size": 12,
        "stem": ["conv1", "conv4"],
        "stem_width": [4, 6],
        "expansion_ratio": [1, 2],
        "heads": 2,
        "stages": [
            {"depth": [1, 2], "width": [8, 12], "mixers": ["conv", "attention"]},
            {"depth": 1, "width": {"times": 2}, "mixers": ["conv", "mlp"]},
        ],
    }
)
LONG = SupernetSettings(epochs=25, paths="single")
SINGLE = SupernetSettings(epochs=3, paths="single")  # of 6 steps each


def draw(seed: int) -> Architecture:
    return scale(SPACE.sample(seed), ProxyRule(), SHAPE)


ENDS = ends_of(map(draw, range(30)))


def fresh(space: SearchSpace = SPACE) -> Supernet:
    with global_seed(0, CPU):
        return move(Supernet(space, ProxyRule(), SHAPE), CPU)


def run(
    supernet: Supernet,
    *,
    settings: SupernetSettings = SINGLE,
    draw: Callable[[int], Architecture] = draw,
    seed: int = 0,
    file: Path | None = None,
    place: Place | None = None,
    micro_batch: int | None = None,
    tell: Tell = lambda *_: None,
    stopped: Callable[[], bool] = lambda: False,
) -> SupernetResult:
    return train_supernet(
        supernet,
        DATA,
        draw=draw,
        settings=settings,
        protocol=SETTINGS,
        seed=seed,
        runtime=CPU,
        ends=ENDS,
        file=file,
        place=place,
        micro_batch=micro_batch,
        window=5,
        tell=tell,
        stopped=stopped,
    )


SHORT = SupernetSettings(epochs=3, paths="sandwich", random_paths=1, distillation=0.5)
SANDWICH = SupernetSettings(epochs=6, paths="sandwich", random_paths=1, distillation=0.5)


@pytest.mark.parametrize("settings", with_slow([SANDWICH, LONG], LONG))
def test_subnets_learn_and_an_extracted_one_scores_the_same(settings: SupernetSettings) -> None:
    supernet = fresh()
    result = run(supernet, settings=settings)
    assert result.diverged is None
    assert result.standing.losses[-1] < result.standing.losses[0]
    scorer = make_scorer(supernet, DATA, runtime=CPU)
    for architecture in ENDS:
        scores = scorer(architecture)
        assert scores["accuracy"] > 0.6
        network = supernet.extract(architecture)
        recalibrate(network, scorer.calibration)
        own = score_images(network, DATA.validation, normalisation=DATA.normalisation, runtime=CPU)
        assert own == pytest.approx(scores, rel=1e-5)


class KilledError(Exception):
    pass


def kill_at(step: int) -> Tell:
    def tell(done: int, _: int) -> None:
        if done == step:
            raise KilledError

    return tell


@pytest.mark.parametrize("settings", with_slow([SINGLE, SHORT], SHORT))
def test_training_that_was_killed_goes_on_bit_for_bit(
    settings: SupernetSettings, tmp_path: Path
) -> None:
    whole, parts = fresh(), fresh()
    expected = run(whole, settings=settings)
    with pytest.raises(KilledError):
        run(parts, settings=settings, file=tmp_path / "supernet", tell=kill_at(13))
    assert state(parts) != state(whole)
    other = fresh()
    seen = []
    found = run(
        other,
        settings=settings,
        file=tmp_path / "supernet",
        tell=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(step, 18) for step in range(11, 19)], "it goes on after the second window"
    assert state(other) == state(whole)
    assert found.standing.losses == expected.standing.losses


def conv1_alone(seed: int) -> Architecture:
    # The statistics of a conv4 stem are those of each worker's own images.
    return next(item for item in map(draw, range(seed, seed + 99)) if item.stem == "conv1")


def train_as(rank: int, port: int, folder: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    supernet = fresh()
    place = Place(rank=rank, world=2)
    result = run(supernet, draw=conv1_alone, file=folder / "file", place=place)
    torch.save((supernet.state_dict(), result.standing.losses), folder / f"{rank}.pt")
    done: list[int] = []
    run(
        fresh(),
        draw=conv1_alone,
        file=folder / "parts",
        place=place,
        tell=lambda step, _: done.append(step),
        stopped=lambda: rank == 0 and done[-1] == 13,
    )
    assert done == list(range(1, 14)), "all workers stop with the one that is told to"
    parts = fresh()
    run(parts, draw=conv1_alone, file=folder / "parts", place=place)
    assert state(parts) == state(supernet), "they go on bit for bit"
    torch.distributed.destroy_process_group()


@slow
def test_two_workers_train_as_one_does_and_go_on_after_a_stop(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    torch.multiprocessing.spawn(train_as, args=(port, tmp_path), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(value, second[0][name]) for name, value in first[0].items())
    assert first[1] == second[1]
    alone = fresh()
    result = run(alone, draw=conv1_alone)
    assert result.standing.losses == pytest.approx(first[1], rel=1e-5)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(first[0][name], value, rtol=1e-3, atol=1e-4, msg=name)
    loaded = fresh()
    load_supernet(loaded, shared_weights(tmp_path / "file"))
    assert state(loaded) != state(alone)
    assert all(torch.equal(value, first[0][name]) for name, value in loaded.state_dict().items())


@slow
def test_batches_in_parts_train_almost_the_same() -> None:
    conv1 = [architecture for architecture in map(draw, range(20)) if architecture.stem == "conv1"]
    whole, parts = fresh(), fresh()
    losses = [
        run(each, draw=lambda seed: conv1[seed % 3], micro_batch=size).standing.losses
        for each, size in ((whole, None), (parts, 7))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert losses[0] != losses[1]


def test_weights_that_no_path_uses_are_left_alone() -> None:
    supernet = fresh()
    before = {name: value.clone() for name, value in supernet.named_parameters()}
    only = next(
        architecture
        for architecture in map(draw, range(99))
        if (architecture.stem, architecture.stages[0].mixers) == ("conv1", ("attention",))
    )
    run(supernet, draw=lambda _: only)
    moved = {
        name for name, value in supernet.named_parameters() if not torch.equal(value, before[name])
    }
    assert {"stages.0.blocks.0.mlp.fc1.weight", "stages.0.blocks.0.branches.attention.gamma_1"} < (
        moved
    )
    for unused in ("stages.0.blocks.1", "stems.conv4"):
        assert not any(name.startswith(unused) for name in moved)
    mlp = "stages.1.blocks.0.branches.mlp"
    assert any(name.startswith(mlp) for name in moved) == (only.stages[1].mixers == ("mlp",))


def test_training_that_diverges_goes_back(tmp_path: Path) -> None:
    supernet = fresh()
    wrecked = []

    def wreck(step: int, _: int) -> None:
        if step == 7 and not wrecked:
            wrecked.append(step)
            supernet.head.weight.data.fill_(torch.nan)

    result = run(supernet, file=tmp_path / "supernet", tell=wreck)
    assert (result.standing.rollbacks, result.standing.step, result.diverged) == (1, 18, None)
    assert all(value.isfinite().all() for value in supernet.state_dict().values())


def test_training_that_always_diverges_ends() -> None:
    supernet = fresh()
    result = run(supernet, tell=lambda *_: supernet.head.weight.data.fill_(torch.nan))
    assert result.diverged is not None and "nan after step 5" in result.diverged
    assert result.standing.rollbacks == MOST_ROLLBACKS + 1


def test_only_a_file_of_the_same_space_and_training_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "supernet"
    trained = fresh()
    run(trained, file=file)
    with pytest.raises(BundleError, match="is of another seed"):
        run(fresh(), seed=1, file=file)
    with pytest.raises(BundleError, match="is of another settings"):
        run(fresh(), settings=replace(SINGLE, epochs=4), file=file)
    loaded = fresh()
    load_supernet(loaded, shared_weights(file))
    assert state(loaded) == state(trained)
    other = replace(SPACE, expansion_ratio=(2,))
    with pytest.raises(BundleError, match=r"supernet: is of another space; expected"):
        load_supernet(fresh(other), shared_weights(file))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match="is damaged"):
        run(fresh(), file=file)


def test_batch_norm_is_measured_for_each_subnet() -> None:
    supernet = fresh()
    narrow, wide = (
        next(item for item in map(draw, range(99)) if (item.stem, item.stem_width) == key)
        for key in (("conv4", 4), ("conv4", 6))
    )
    batches = make_scorer(supernet, DATA, runtime=CPU).calibration
    for architecture in (narrow, wide):
        network = supernet.subnet(architecture)
        recalibrate(network, batches)
        before = torch.relu(network.stem.bn1(network.stem.conv1(torch.cat(list(batches)))))
        features = network.stem.conv2(before)
        torch.testing.assert_close(
            network.stem.bn2.running_mean, features.mean((0, 2, 3)), rtol=1e-3, atol=1e-3
        )
        assert not network.stem.bn2.training

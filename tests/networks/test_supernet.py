"""Subnets on shared weights: the same function as an ordinary network, and gradients to share."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from effort import with_slow
from network_tools import images, randomise
from small_spaces import SPACES
from spach_nas.errors import ArchitectureError, SearchSpaceError
from spach_nas.networks import Spach
from spach_nas.networks.supernet import Supernet, check_shareable, recalibrate
from spach_nas.space import mixers
from spach_nas.space.architecture import Architecture
from spach_nas.space.mixers import MixerCost, MixerSite, MixerSpec
from spach_nas.space.scaling import DataShape, ProxyRule, scale
from spach_nas.space.search_space import SearchSpace

FRAME = {"patch_size": 2, "image_size": 16, "expansion_ratio": 2, "heads": 2}
FREE = "layouts and free blocks"
DATA = DataShape(in_channels=2, num_classes=5)
RULES = {
    "as it is": ProxyRule(image_size=(16, 16), patch_size=2),
    "smaller": ProxyRule(image_size=(16, 24), patch_size=2, width_scale=0.7, depth_scale=0.6),
}


def made(space: SearchSpace, rule: ProxyRule) -> Supernet:
    torch.manual_seed(0)
    supernet = Supernet(space, rule, DATA)
    randomise(supernet)
    return supernet.double()


def proxies(space: SearchSpace, rule: ProxyRule, count: int) -> list[Architecture]:
    rng = np.random.default_rng(1)
    return [scale(space.sample(rng), rule, DATA) for _ in range(count)]


@pytest.mark.parametrize(
    ("name", "rule"),
    with_slow(
        [(name, rule) for name in SPACES for rule in RULES],
        *((name, "as it is") for name in SPACES if name != FREE),
    ),
)
def test_extracted_networks_compute_what_their_subnets_do(name: str, rule: str) -> None:
    space = SPACES[name]
    supernet = made(space, RULES[rule])
    for architecture in proxies(space, RULES[rule], 3):
        x = images(architecture).double()
        subnet, network = supernet.subnet(architecture), supernet.extract(architecture)
        assert network.architecture == architecture
        fresh = {key: value.shape for key, value in Spach(architecture).state_dict().items()}
        assert {key: value.shape for key, value in network.state_dict().items()} == fresh
        for each in (subnet, network):
            recalibrate(each, [x])
        found = network(x)
        assert found.std() > 0.1
        torch.testing.assert_close(found, subnet(x), rtol=1e-9, atol=1e-9)


def test_float32_agrees_too() -> None:
    space = SPACES[FREE]
    supernet = made(space, RULES["as it is"]).float()
    for architecture in proxies(space, RULES["as it is"], 4):
        x = images(architecture)
        subnet, network = supernet.subnet(architecture), supernet.extract(architecture)
        for each in (subnet, network):
            recalibrate(each, [x])
        torch.testing.assert_close(network(x), subnet(x), rtol=1e-6, atol=1e-6)


class Pool(torch.nn.Module):
    """A mixer of a user's, with a buffer and an option, that nobody could slice."""

    def __init__(self, site: MixerSite) -> None:
        super().__init__()
        self.size = int(site.option("pool_size"))
        self.norm = torch.nn.BatchNorm2d(site.width)
        self.scale = torch.nn.Conv2d(site.width, site.width, 1, groups=site.heads)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.avg_pool2d(
            x.permute(0, 3, 1, 2), self.size, stride=1, padding=self.size // 2
        )
        return self.scale(self.norm(x)).permute(0, 2, 3, 1)


@pytest.fixture
def own_space(monkeypatch: pytest.MonkeyPatch) -> SearchSpace:
    """A space with a mixer of a user's, registered for one test."""
    monkeypatch.setattr(mixers.MIXERS, "known", dict(mixers.MIXERS))
    mixers.register_mixer(
        MixerSpec(
            name="pool",
            short="pool",
            cost=lambda site: MixerCost(0, 0, 0),
            module=f"{__name__}:Pool",
            parameters=frozenset({"heads"}),
            options={"pool_size": (3, 5, 7)},
        )
    )
    return SearchSpace.from_dict(
        {
            **FRAME,
            "shared": [False, True],
            "options": {"pool_size": [3, 5]},
            "stages": [
                {"depth": 2, "width": [4, 8], "mixers": ["conv", "pool"]},
                {"depth": [1, 3], "width": {"times": [1, 2]}, "mixers": ["pool", "attention"]},
            ],
        }
    )


def test_mixer_of_a_user_has_a_module_for_each_site(own_space: SearchSpace) -> None:
    supernet = made(own_space, ProxyRule())
    for architecture in proxies(own_space, ProxyRule(), 8):
        x = images(architecture).double()
        subnet, network = supernet.subnet(architecture), supernet.extract(architecture)
        for each in (subnet, network):
            recalibrate(each, [x])
        torch.testing.assert_close(network(x), subnet(x), rtol=1e-9, atol=1e-9)
    # Two widths and two sizes of the pool.
    assert len(supernet.stages[0].blocks[0].branches["pool"].mixer) == 4


def test_gradients_reach_the_share_of_a_subnet_and_nothing_else() -> None:
    space, rule = SPACES[FREE], RULES["as it is"]
    supernet = made(space, rule)
    architecture = next(item for item in proxies(space, rule, 9) if item.stages[0].depth == 1)
    x = images(architecture).double()
    network = supernet.extract(architecture).train()
    supernet.subnet(architecture).train()(x).square().sum().backward()
    network(x).square().sum().backward()
    shared = supernet.stages[0].blocks[0].mlp.fc1.weight.grad
    own = network.stages[0].blocks[0].mlp.fc1.weight.grad
    rows, columns = own.shape
    torch.testing.assert_close(shared[:rows, :columns], own)
    assert shared.square().sum() == pytest.approx(float(own.square().sum()))
    assert all(each.grad is None for each in supernet.stages[0].blocks[1].parameters())


def test_attention_shares_the_first_channels_of_the_first_heads() -> None:
    # Flat slices would give the second head of a narrow network channels of the first.
    space = SearchSpace.from_dict(
        {
            "patch_size": 2,
            "image_size": 8,
            "expansion_ratio": 1,
            "heads": [1, 2],
            "stages": [{"depth": 1, "width": [4, 8], "mixers": "attention"}],
        }
    )
    supernet = made(space, ProxyRule())
    weight = supernet.stages[0].blocks[0].branches["attention"].mixer.qkv.weight
    assert weight.shape == (3 * 2 * 8, 8), "two heads of up to eight channels"
    narrow = next(
        item
        for item in proxies(space, ProxyRule(), 20)
        if (item.stages[0].width, item.stages[0].heads) == (4, 2)
    )
    own = supernet.extract(narrow).stages[0].blocks[0].mixer.qkv.weight
    rows = [16 * part + 8 * head + i for part in range(3) for head in range(2) for i in range(2)]
    assert torch.equal(own, weight[rows, :4])


def test_new_supernet_begins_as_new_networks_do() -> None:
    supernet = Supernet(SPACES[FREE], RULES["as it is"], DATA)
    for architecture in proxies(supernet.space, supernet.rule, 2):
        network = supernet.extract(architecture)
        assert not network(images(architecture)).any()
    decayed = {name for name, _ in supernet.named_parameters()} - supernet.no_weight_decay()
    assert not any("gamma_1" in name for name in decayed)


def test_making_a_subnet_leaves_the_random_state_alone() -> None:
    supernet = made(SPACES["no choice"], ProxyRule())
    architecture = proxies(supernet.space, ProxyRule(), 1)[0]
    before = torch.get_rng_state()
    supernet.extract(architecture)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "rule", "reason"),
    [
        ("some trailing depths", ProxyRule(), "image_size: 4, 6; expected one"),
        ("widths of their own", ProxyRule(), "patch_size: 2, 4 with mlp mixers"),
    ],
)
def test_what_cannot_be_shared_is_named(name: str, rule: ProxyRule, reason: str) -> None:
    with pytest.raises(SearchSpaceError, match=reason):
        check_shareable(SPACES[name], rule)


def test_too_many_settings_of_an_own_mixer_are_refused(own_space: SearchSpace) -> None:
    widths = {"depth": 1, "width": list(range(2, 42, 2)), "mixers": "pool"}
    space = replace(own_space, stages=SearchSpace.from_dict({**FRAME, "stages": [widths]}).stages)
    with pytest.raises(SearchSpaceError, match=r"'pool' with 40 settings.*width, heads, pool_size"):
        check_shareable(space, ProxyRule())


def test_architectures_outside_are_refused_by_name() -> None:
    supernet = made(SPACES["no choice"], ProxyRule())
    inside = proxies(supernet.space, ProxyRule(), 1)[0]
    stage = inside.stages[0]
    for change, reason in (
        ({"mixers": ("attention",) * 4}, "4 blocks"),
        ({"mixers": ("mlp",)}, "mlp"),
        ({"width": 8}, "8.*where.*4.*is the largest"),
    ):
        outside = replace(inside, stages=(replace(stage, **change),))
        with pytest.raises(ArchitectureError, match=reason):
            supernet.subnet(outside)

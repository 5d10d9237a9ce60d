"""Networks behave under everything that PyTorch may do to them."""

import copy
import itertools
import platform

import pytest
import torch
import torch.fx
from torch import nn

from effort import slow, some_or_all, thorough, with_slow
from network_tools import images, randomised, zoo
from spach_nas.cost.closed_form import cost
from spach_nas.errors import ArchitectureError
from spach_nas.machine import keep_freed_memory
from spach_nas.networks import Spach, build
from spach_nas.networks.mixer_modules import attend
from spach_nas.networks.traced_cost import trace_cost
from spach_nas.space import mixers
from spach_nas.space.architecture import Architecture
from spach_nas.space.mixers import MixerCost, MixerSite, MixerSpec

ZOO = zoo()
everywhere = pytest.mark.parametrize("name", ZOO)
# Together every mixer, stem, sharing and both frames, where a case takes half a second.
SPREAD = ["hybrid_plus", "hybrid_shared", "single_attention"]


def gradients(network: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Gradients of a seeded function of the logits."""
    network.zero_grad()
    logits = network(x)
    seeded = torch.randn(logits.shape, generator=torch.Generator().manual_seed(5))
    (logits * seeded.to(logits)).sum().backward()
    return {name: parameter.grad.clone() for name, parameter in network.named_parameters()}


@everywhere
def test_blocks_keep_features_contiguous(name: str) -> None:
    # Only then does a convolution see them as channels_last, without a copy.
    network = randomised(ZOO[name])
    seen = []
    for stage in network.stages:
        for block in stage.blocks:
            block.register_forward_hook(lambda _, args, out: seen.extend([args[0], out]))
    network(images(ZOO[name]))
    assert seen and all(x.is_contiguous() for x in seen)


@everywhere
def test_gradient_checkpointing_gives_the_same_gradients(name: str) -> None:
    network = randomised(ZOO[name], drop_path_rate=0.5).double().train()
    x = images(ZOO[name]).double()
    torch.manual_seed(3)
    expected = gradients(network, x)
    network.set_grad_checkpointing()
    calls = []
    block = network.stages[0].blocks[0]
    block.register_forward_pre_hook(lambda *_: calls.append(1))
    torch.manual_seed(3)
    found = gradients(network, x)
    assert len(calls) == 2
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-12, atol=1e-12)


@slow
@thorough
@pytest.mark.parametrize(
    ("name", "bf16"),
    some_or_all([("hybrid_shared", False)], list(itertools.product(SPREAD, (False, True)))),
)
def test_network_compiles_to_one_graph(name: str, bf16: bool) -> None:
    network = randomised(ZOO[name])
    x = images(ZOO[name])
    for mode in (network.train(), network.eval()):
        torch.compiler.reset()
        compiled = torch.compile(mode, backend="eager", fullgraph=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            expected = gradients(mode, x)
            found = gradients(compiled, x)
        for key, value in expected.items():
            torch.testing.assert_close(found[f"_orig_mod.{key}"], value)


@slow
@thorough
@pytest.mark.parametrize("name", some_or_all(["hybrid_plus"], SPREAD))
def test_network_exports_with_a_free_batch(name: str) -> None:
    network = randomised(ZOO[name]).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(network, (images(ZOO[name]),), dynamic_shapes=({0: batch},))
    for count in (1, 5):
        x = images(ZOO[name], batch=count)
        torch.testing.assert_close(exported.module()(x), network(x))


@everywhere
def test_a_symbolic_trace_computes_the_same(name: str) -> None:
    network = randomised(ZOO[name]).eval()
    traced = torch.fx.symbolic_trace(network)
    for count in (0, 1, 5):
        x = images(ZOO[name], batch=5)[:count]
        found = traced(x)
        assert found.shape == (count, 5)
        torch.testing.assert_close(found, network(x), rtol=0, atol=0)


@everywhere
def test_bfloat16_autocast_stays_close_and_finite(name: str) -> None:
    network = randomised(ZOO[name])
    x = images(ZOO[name], batch=4)
    expected = network.eval()(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = network(x)
        grads = gradients(network.train(), x)
    assert (found.float() - expected).abs().max() < 0.1 * expected.abs().max()
    assert all(
        torch.isfinite(value).all() and value.dtype == torch.float32 for value in grads.values()
    )


@pytest.mark.parametrize("tokens", with_slow([1, 16, 784, 785], 784))
@pytest.mark.parametrize("width", [4, 32])
def test_every_way_to_attend_computes_attention(tokens: int, width: int) -> None:
    generator = torch.Generator().manual_seed(tokens)
    exact = torch.randn((3, 2, 2, tokens, width), generator=generator, dtype=torch.float64)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 2e-2)):
        rounded = exact.to(dtype, copy=True).requires_grad_()
        found = attend(*rounded)
        assert found.dtype == dtype
        found.double().square().sum().backward()
        reference = rounded.detach().to(torch.float64, copy=True).requires_grad_()
        q, k, v = reference
        expected = torch.softmax(q @ k.mT / width**0.5, -1) @ v
        expected.square().sum().backward()
        assert rounded.grad is not None and reference.grad is not None
        for value, true in ((found, expected), (rounded.grad, reference.grad)):
            assert (value.double() - true).abs().max() <= tolerance * true.abs().max()


def test_attention_is_written_out_only_where_that_is_faster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fused: list[tuple[torch.dtype, int]] = []
    kernel = nn.functional.scaled_dot_product_attention

    def record(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        fused.append((q.dtype, q.shape[-2]))
        return kernel(q, k, v)

    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", record)
    for dtype, tokens in itertools.product((torch.float32, torch.bfloat16), (4, 784, 1024)):
        attend(*torch.zeros((3, 1, 1, tokens, 4), dtype=dtype))
    attend(*torch.zeros((3, 1, 1, 7, 4), dtype=torch.bfloat16, device="meta"))
    expected = [(torch.float32, n) for n in (4, 784, 1024)]
    assert fused == [*expected, (torch.bfloat16, 1024), (torch.bfloat16, 7)]


@everywhere
def test_a_copy_shares_nothing(name: str) -> None:
    network = randomised(ZOO[name]).eval()
    x = images(ZOO[name])
    twin = copy.deepcopy(network)
    assert torch.equal(twin(x), network(x))
    before = network(x)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert torch.equal(network(x), before)


@everywhere
def test_meta_network_has_the_shapes_of_the_real_one(name: str) -> None:
    with torch.device("meta"):
        ghost = build(ZOO[name], drop_path_rate=0.1)
    real = randomised(ZOO[name]).eval()
    assert {key: value.shape for key, value in ghost.state_dict().items()} == {
        key: value.shape for key, value in real.state_dict().items()
    }
    assert ghost(images(ZOO[name]).to("meta")).shape == (2, 5)
    filled = ghost.to_empty(device="cpu").eval()
    filled.load_state_dict(real.state_dict())
    assert torch.equal(filled(images(ZOO[name])), real(images(ZOO[name])))


def test_training_learns_a_batch_by_heart() -> None:
    torch.manual_seed(0)
    network = build(ZOO["hybrid_plus"]).train()
    x, labels = images(ZOO["hybrid_plus"], batch=8), torch.arange(8) % 5
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for _ in range(60):
        loss = nn.functional.cross_entropy(network(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the switch is glibc's")
def test_freed_memory_is_kept_when_asked() -> None:
    resource = pytest.importorskip("resource")

    def faults() -> int:
        # What a training step does: fill many blocks, then free them all; 64 MB are 16384 pages.
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [torch.ones(2**20) for _ in range(16)]
        assert len(blocks) == 16
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

    assert keep_freed_memory()
    assert min(faults() for _ in range(5)) < 100


class Pool(nn.Module):
    """A mixer of a user: mean over 3 x 3 neighbours, times one weight a channel."""

    def __init__(self, site: MixerSite) -> None:
        super().__init__()
        self.scale = nn.Conv2d(site.width, site.width, 1, groups=site.width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = nn.functional.avg_pool2d(x.permute(0, 3, 1, 2), 3, 1, 1)
        return self.scale(pooled).permute(0, 2, 3, 1)


def pool_cost(site: MixerSite) -> MixerCost:
    return MixerCost(site.width, site.width * site.tokens, site.width * site.tokens)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> str:
    """A mixer registered for one test."""
    monkeypatch.setattr(mixers.MIXERS, "known", dict(mixers.MIXERS))
    mixers.register_mixer(
        MixerSpec(name="pool", short="pool", cost=pool_cost, module=f"{__name__}:Pool")
    )
    return "pool"


def with_mixer(name: str) -> Architecture:
    plain = ZOO["hybrid_shared"].to_dict()
    plain["stages"][1]["mixers"] = [name, "conv", name]
    plain["stages"][2]["mixers"] = ["mlp", name, name]
    return Architecture.from_dict(plain)


def test_mixer_of_a_user_takes_part(pool: str) -> None:
    architecture = with_mixer(pool)
    network = randomised(architecture)
    assert trace_cost(network, architecture.image_size, in_channels=2) == cost(architecture)
    assert all(value.abs().max() > 0 for value in gradients(network, images(architecture)).values())
    assert "stages.2.shared.pool.scale.weight" in network.state_dict()


def test_mixer_that_cannot_be_imported_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixers.MIXERS, "known", dict(mixers.MIXERS))
    for module in ("no_such_package:Pool", f"{__name__}:NoSuchClass", "neither"):
        spec = MixerSpec(name=f"broken {module}", short="b", cost=pool_cost, module=module)
        mixers.register_mixer(spec)
        with pytest.raises(ArchitectureError, match=r"cannot be imported.*'package\.module:name'"):
            Spach(with_mixer(spec.name))

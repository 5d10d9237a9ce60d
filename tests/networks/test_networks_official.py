"""Checkpoints under the official names, made here from the naming rules of the paper's code."""

import itertools
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from effort import some_or_all, thorough
from network_tools import randomised
from spach_nas.errors import ArchitectureError, BundleError
from spach_nas.networks.official_checkpoints import (
    load_official,
    official_state_dict,
    save_official,
)
from spach_nas.space.references import REFERENCES

# Small models of the paper that together cover stems, mixers, sharing and both frames.
NAMES = [
    "conv_ms_xxs",
    "trans_ms_xxs",
    "mlp_ms_xxs",
    "mlp_ms_xxs_shared",
    "trans_xxs",
    "hybrid_ms_xs_plus",
]


def official_tensors(name: str) -> dict[str, torch.Tensor]:
    """Seeded tensors under the names and in the shapes of the official code."""
    architecture = REFERENCES[name].architecture
    generator = torch.Generator().manual_seed(3)
    state: dict[str, torch.Tensor] = {}

    def add(key: str, *shape: int) -> None:
        state[key] = torch.randn(shape, generator=generator)

    def affine(key: str, width: int) -> None:
        add(f"{key}.weight", width)
        add(f"{key}.bias", width)

    def linear(key: str, before: int, after: int) -> None:
        add(f"{key}.weight", after, before)
        add(f"{key}.bias", after)

    P, first = architecture.patch_size, architecture.stages[0].width
    if architecture.stem == "conv4":
        for i, (channels, kernel) in enumerate([(3, 7), (64, 3), (64, 3)]):
            add(f"stem.proj.{3 * i}.weight", 64, channels, kernel, kernel)
            affine(f"stem.proj.{3 * i + 1}", 64)
            add(f"stem.proj.{3 * i + 1}.running_mean", 64)
            add(f"stem.proj.{3 * i + 1}.running_var", 64)
            state[f"stem.proj.{3 * i + 1}.running_var"].abs_()
            state[f"stem.proj.{3 * i + 1}.num_batches_tracked"] = torch.tensor(7)
        add("stem.proj.9.weight", first, 64, P // 2, P // 2)
        add("stem.proj.9.bias", first)
    else:
        add("stem.proj.weight", first, 3, P, P)
        add("stem.proj.bias", first)
    affine("norm1", first)
    tokens = (224 // P) ** 2
    for s, stage in enumerate(architecture.stages):
        C, N = stage.width, tokens // 4**s
        hidden, T = int(stage.expansion_ratio * C), N // 2
        if s > 0:
            add(f"layer{s + 1}.0.net.1.0.weight", C, C // 2, 2, 2)
            affine(f"layer{s + 1}.0.net.1.1", C)
        shared: dict[str, torch.Tensor] = {}
        for b, mixer in enumerate(stage.mixers):
            single = len(architecture.stages) == 1
            block = f"blocks.{b}" if single else f"layer{s + 1}.{b + (s > 0)}"
            if mixer != "conv":
                add(f"{block}.gamma_1", 1, 1, C)
                affine(f"{block}.norm1", C)
                before = set(state)
                if mixer == "attention":
                    linear(f"{block}.spatial_func.qkv", C, 3 * C)
                    linear(f"{block}.spatial_func.proj", C, C)
                else:
                    linear(f"{block}.spatial_func.fc1", N, T)
                    linear(f"{block}.spatial_func.fc2", T, N)
                for key in set(state) - before if stage.shared else ():
                    state[key] = shared.setdefault(key.rsplit("spatial_func", 1)[1], state[key])
            affine(f"{block}.norm2", C)
            linear(f"{block}.channel_func.fc1", C, hidden)
            linear(f"{block}.channel_func.fc2", hidden, C)
            add(f"{block}.cpe_net.net.1.weight", C, 1, 3, 3)
            add(f"{block}.cpe_net.net.1.bias", C)
    affine("norm2", C)
    linear("head", C, 1000)
    return state


def write(path: Path, state: dict[str, torch.Tensor]) -> Path:
    if path.suffix == ".safetensors":
        save_file({key: value.clone() for key, value in state.items()}, path)
    else:
        torch.save({"model": state}, path)
    return path


SOME = [
    ("mlp_ms_xxs_shared", ".pth"),
    ("trans_xxs", ".safetensors"),
]
ALL = list(itertools.product(NAMES, (".pth", ".safetensors")))


@thorough
@pytest.mark.parametrize(("name", "suffix"), some_or_all(SOME, ALL))
def test_official_checkpoints_round_trip_bit_for_bit(
    name: str, suffix: str, tmp_path: Path
) -> None:
    state = official_tensors(name)
    network = load_official(write(tmp_path / f"given{suffix}", state), name)
    assert network.architecture == REFERENCES[name].architecture
    save_official(network, tmp_path / "saved.pth")
    saved = torch.load(tmp_path / "saved.pth", weights_only=True)["model"]
    assert set(saved) == set(state)
    for key, value in state.items():
        assert saved[key].shape == value.shape and torch.equal(saved[key], value), key
    save_official(network, tmp_path / "saved.safetensors")
    again = load_official(tmp_path / "saved.safetensors", name)
    assert all(torch.equal(official_state_dict(again)[key], state[key]) for key in state)


def test_weights_land_where_their_names_say(tmp_path: Path) -> None:
    state = official_tensors("hybrid_ms_xs_plus")
    network = load_official(write(tmp_path / "given.pth", state), "hybrid_ms_xs_plus")
    pairs = {
        "stem.conv2.weight": "stem.proj.3.weight",
        "stem.bn3.running_mean": "stem.proj.7.running_mean",
        "stem.conv.bias": "stem.proj.9.bias",
        "norm.weight": "norm1.weight",
        "head_norm.bias": "norm2.bias",
        "stages.0.blocks.2.mlp.fc2.weight": "layer1.2.channel_func.fc2.weight",
        "stages.2.downsample.conv.weight": "layer3.0.net.1.0.weight",
        "stages.2.downsample.norm.bias": "layer3.0.net.1.1.bias",
        "stages.2.blocks.11.mixer.qkv.weight": "layer3.12.spatial_func.qkv.weight",
        "stages.3.blocks.0.dwconv.weight": "layer4.1.cpe_net.net.1.weight",
        "stages.3.blocks.2.norm1.weight": "layer4.3.norm1.weight",
    }
    own = network.state_dict()
    for ours, theirs in pairs.items():
        assert torch.equal(own[ours], state[theirs]), ours


def test_state_dict_without_a_wrapper_loads(tmp_path: Path) -> None:
    state = official_tensors("trans_ms_xxs")
    torch.save(state, tmp_path / "bare.pth")
    assert torch.equal(
        load_official(tmp_path / "bare.pth", "trans_ms_xxs").head.bias, state["head.bias"]
    )


def test_missing_unexpected_and_misshaped_tensors_are_named_at_once(tmp_path: Path) -> None:
    state = official_tensors("trans_ms_xxs")
    del state["layer3.2.gamma_1"]
    state["layer5.0.gamma_1"] = torch.zeros(1)
    state["head.weight"] = torch.zeros(10, 256)
    with pytest.raises(BundleError) as caught:
        load_official(write(tmp_path / "given.pth", state), "trans_ms_xxs")
    message = str(caught.value)
    assert "is missing: layer3.2.gamma_1\n" in message
    assert "is unexpected: layer5.0.gamma_1\n" in message
    assert "has another shape: head.weight (10, 256) instead of (1000, 256)\n" in message
    assert message.endswith("expected the tensors of trans_ms_xxs")
    with pytest.raises(BundleError, match=r"layer2\.1\.spatial_func\.fc1\.weight"):
        load_official(tmp_path / "given.pth", "mlp_ms_xxs")


def test_checkpoint_that_does_not_share_is_no_shared_model(tmp_path: Path) -> None:
    path = write(tmp_path / "given.pth", official_tensors("mlp_ms_xxs"))
    with pytest.raises(BundleError, match=r"layer2\.2\.spatial_func\.\S+ differs from layer2\.1"):
        load_official(path, "mlp_ms_xxs_shared")


class Executes:
    """A pickle that would create a file named after itself."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_pickle_that_executes_is_refused(tmp_path: Path) -> None:
    canary = tmp_path / "executed"
    torch.save({"model": Executes(canary)}, tmp_path / "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Executes(canary)))
    with pytest.raises(BundleError, match=r"zip\.pth: refused, because it would execute \S*mkdir"):
        load_official(tmp_path / "zip.pth", "conv_ms_xxs")
    with pytest.raises(BundleError, match=r"plain\.pth: refused"):
        load_official(tmp_path / "plain.pth", "conv_ms_xxs")
    assert not canary.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_are_refused(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"whole{suffix}", official_tensors("trans_ms_xxs"))
    for keep in (0, 100, path.stat().st_size // 2):
        cut = tmp_path / f"cut{suffix}"
        cut.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(BundleError, match=f"cut{suffix}: "):
            load_official(cut, "trans_ms_xxs")
    with pytest.raises(BundleError, match="not a file; expected a checkpoint"):
        load_official(tmp_path / f"none{suffix}", "trans_ms_xxs")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(BundleError, match="holds no tensors by name"):
        load_official(tmp_path / "list.pth", "trans_ms_xxs")
    with pytest.raises(ArchitectureError, match="did you mean 'trans_ms_xxs'"):
        load_official(path, "trans_ms_xxl")


def test_conv_and_attention_load_at_another_size_as_they_are(tmp_path: Path) -> None:
    state = official_tensors("trans_ms_xxs")
    path = write(tmp_path / "given.pth", state)
    network = load_official(path, "trans_ms_xxs", image_size=(64, 96))
    assert network.architecture.image_size == (64, 96)
    assert all(torch.equal(official_state_dict(network)[key], state[key]) for key in state)
    with pytest.raises(ArchitectureError, match="multiple of 32"):
        load_official(path, "trans_ms_xxs", image_size=(64, 100))


def test_token_mlp_is_resampled_only_when_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "given.pth", official_tensors("mlp_ms_xxs"))
    with pytest.raises(ArchitectureError, match=r"256x192; expected 224x224.*resample_tokens=True"):
        load_official(path, "mlp_ms_xxs", image_size=(256, 192))
    network = load_official(path, "mlp_ms_xxs", image_size=(256, 192), resample_tokens=True)
    assert network(torch.randn(1, 3, 256, 192)).shape == (1, 1000)
    assert network.stages[1].blocks[0].mixer.fc1.weight.shape == (392, 32 * 24)


def test_resampling_keeps_the_function_of_smooth_features() -> None:
    # Weights that are constant over the positions give exactly the same token-MLP on constant
    # features at any size: sums over positions keep their size, biases and outputs their value.
    from spach_nas.networks.resizing import resize

    network = randomised(REFERENCES["mlp_ms_xxs"].architecture).double()
    mixer = network.stages[2].blocks[0].mixer
    with torch.no_grad():
        mixer.fc1.weight.copy_(mixer.fc1.weight[:, :1].expand_as(mixer.fc1.weight))
        mixer.fc2.weight.copy_(mixer.fc2.weight[:1].expand_as(mixer.fc2.weight))
        mixer.fc2.bias.fill_(0.7)
        resized = resize(network, (256, 160), resample_tokens=True)
        again = resized.stages[2].blocks[0].mixer
        constant = torch.randn(5).double()
        small = again(constant.expand(1, 16, 10, 5).float())[0, 0, 0]
        large = mixer(constant.expand(1, 14, 14, 5))[0, 0, 0]
    torch.testing.assert_close(small.double(), large, rtol=1e-4, atol=1e-4)

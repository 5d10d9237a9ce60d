"""Networks are timm models: its own conventions for model tests, over the registry."""

import json
from collections.abc import Iterator

import pytest
import safetensors.torch
import timm
import torch
from timm.optim import create_optimizer_v2, param_groups_layer_decay
from timm.utils import ModelEmaV3

from effort import some_or_all, thorough, with_slow
from network_tools import images, randomise, randomised, small, zoo
from spach_nas.errors import ArchitectureError, SpachNasError
from spach_nas.networks import Spach, model_config
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import REFERENCES

NAMES = [f"spach_{name}" for name in REFERENCES]
ZOO = zoo()


def side(name: str) -> int:
    """The smallest useful image of a reference, for speed: four positions in the last stage."""
    return 2 * (16 if len(REFERENCES[name.removeprefix("spach_")].architecture.stages) == 1 else 32)


def create(name: str, **changes) -> Spach:
    return timm.create_model(name, img_size=side(name), **changes)


@pytest.fixture(params=ZOO)
def small_network(request: pytest.FixtureRequest) -> Iterator[tuple[Spach, torch.Tensor]]:
    """Each small network as timm creates it, with random weights, and images for it."""
    architecture = ZOO[request.param]
    network = timm.create_model("spach", architecture=architecture.to_dict())
    randomise(network)
    yield network.eval(), images(architecture)


def test_every_reference_is_listed() -> None:
    assert set(timm.list_models("spach*")) == {"spach", *NAMES}
    assert not timm.list_models("spach*", pretrained=True)


SOME = ["spach_hybrid_ms_s_plus", "spach_mlp_ms_xxs_shared", "spach_trans_xxs"]


@thorough
@pytest.mark.parametrize("name", some_or_all(SOME, NAMES))
def test_default_cfg_is_true_of_the_network(name: str) -> None:
    with torch.device("meta"):
        network = timm.create_model(name)
    cfg = network.default_cfg
    architecture = REFERENCES[name.removeprefix("spach_")].architecture
    assert network.architecture == architecture
    assert cfg["input_size"] == (3, 224, 224) and cfg["num_classes"] == network.num_classes == 1000
    assert {f"{cfg['classifier']}.weight", f"{cfg['first_conv']}.weight"} <= set(
        network.state_dict()
    )
    assert network.get_submodule(cfg["first_conv"]).in_channels == 3
    assert network.get_submodule(cfg["classifier"]) is network.get_classifier()
    assert cfg["fixed_input_size"] == ("mlp" in name)
    features = network.forward_features(torch.empty(2, *cfg["input_size"], device="meta"))
    assert features.shape == (2, *cfg["pool_size"], network.num_features)
    assert cfg["architecture"] == name


@pytest.mark.parametrize(
    "name", ["spach_conv_ms_xxs", "spach_trans_xxs", "spach_mlp_ms_xxs_shared"]
)
def test_forward_and_backward_reach_every_parameter(name: str) -> None:
    network = create(name, num_classes=42, drop_path_rate=0.1)
    randomise(network)
    network.train()
    logits = network(torch.randn(2, 3, side(name), side(name)))
    assert logits.shape == (2, 42) and torch.isfinite(logits).all()
    logits.mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("name", ["spach_hybrid_ms_xs_plus", "spach_trans_ms_xxs"])
def test_arguments_of_timm_reach_the_network(name: str) -> None:
    network = timm.create_model(
        name, num_classes=7, in_chans=1, img_size=(64, 32), drop_path_rate=0.2, drop_rate=0.4
    )
    assert network(torch.randn(2, 1, 64, 32)).shape == (2, 7)
    assert network.architecture.image_size == (64, 32) and network.in_chans == 1
    last = network.stages[-1].blocks[-1]
    assert last.drop_path.drop_prob == pytest.approx(0.2) and network.head_drop.p == 0.4


def test_features_only_gives_maps_of_every_stage() -> None:
    backbone = timm.create_model(
        "spach_hybrid_ms_s_plus",
        num_classes=5,
        in_chans=3,
        img_size=64,
        drop_path_rate=0.1,
        features_only=True,
    )
    found = backbone(torch.randn(1, 3, 64, 64))
    assert backbone.feature_info.channels() == [128, 256, 512, 1024]
    assert backbone.feature_info.reduction() == [4, 8, 16, 32]
    assert [tuple(map.shape) for map in found] == [
        (1, 128 * 2**i, 16 // 2**i, 16 // 2**i) for i in range(4)
    ]


def test_features_only_takes_out_indices_and_drops_what_is_behind() -> None:
    backbone = timm.create_model(
        "spach", architecture=ZOO["hybrid"], features_only=True, out_indices=(0, 1)
    )
    found = backbone(images(ZOO["hybrid"]))
    assert [tuple(map.shape) for map in found] == [(2, 12, 8, 12), (2, 16, 4, 6)]
    assert not [name for name in backbone.state_dict() if "stages.2" in name or "head" in name]


def test_head_conventions(small_network: tuple[Spach, torch.Tensor]) -> None:
    network, x = small_network
    with torch.no_grad():
        logits, features = network(x), network.forward_features(x)
        assert features.shape == (2, *network.architecture.resolutions[-1], network.num_features)
        torch.testing.assert_close(network.forward_head(features), logits)
        pooled = network.forward_head(features, pre_logits=True)
        assert pooled.shape == (2, network.head_hidden_size)
        torch.testing.assert_close(network.get_classifier()(pooled), logits)
        network.reset_classifier(0)
        torch.testing.assert_close(network(x), pooled)
        network.reset_classifier(0, "")
        torch.testing.assert_close(network(x), features)
        network.reset_classifier(9, "avg")
        assert torch.equal(network(x), torch.zeros(2, 9))
    assert network.num_classes == network.architecture.num_classes == 9
    without_head = timm.create_model("spach", architecture=network.architecture, num_classes=0)
    assert not list(without_head.get_classifier().parameters())
    assert without_head(x).shape == (2, network.num_features)


def test_intermediates_are_the_features_between_the_stages(
    small_network: tuple[Spach, torch.Tensor],
) -> None:
    network, x = small_network
    with torch.no_grad():
        expected, y = [], network.norm(network.stem(x))
        for stage in network.stages:
            y = stage(y)
            expected.append(y)
        final, found = network.forward_intermediates(x, output_fmt="NHWC")
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(final, network.forward_features(x))
        [last] = network.forward_intermediates(x, 1, norm=True, intermediates_only=True)
        torch.testing.assert_close(last, final.permute(0, 3, 1, 2))
        first, [only] = network.forward_intermediates(x, [0], stop_early=True, output_fmt="NHWC")
        torch.testing.assert_close(only, expected[0])
        if len(expected) > 1:
            torch.testing.assert_close(first, expected[0])


def test_pruned_network_gives_the_same_intermediates() -> None:
    network = randomised(ZOO["hybrid"]).eval()
    x = images(ZOO["hybrid"])
    with torch.no_grad():
        expected = network.forward_intermediates(x, [0, 1], intermediates_only=True)
        assert network.prune_intermediate_layers([0, -2]) == [0, 1]
        found = network.forward_intermediates(x, [0, 1], intermediates_only=True)
        torch.testing.assert_close(found, expected)
        assert network(x).shape == (2, network.num_features) == (2, 16)
    assert len(network.stages) == len(network.architecture.stages) == 2
    # The token-MLP of the third stage is gone, and with it the fixed size.
    assert network(images(ZOO["hybrid"])[:, :, :8, :8]).shape == (2, 16)


def test_norms_biases_and_gamma_are_exempt_from_weight_decay() -> None:
    network = timm.create_model("spach", architecture=ZOO["hybrid_shared"])
    optimizer = create_optimizer_v2(network, opt="adamw", lr=1e-3, weight_decay=0.05)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    decayed = {
        names[id(parameter)]
        for group in optimizer.param_groups
        if group["weight_decay"] > 0
        for parameter in group["params"]
    }
    assert decayed == {
        name
        for name in names.values()
        if name.endswith("weight") and "norm" not in name and ".bn" not in name
    }
    assert network.no_weight_decay() == {name for name in names.values() if "gamma_1" in name}


@pytest.mark.parametrize("coarse", [False, True])
def test_groups_cover_every_parameter_in_order(coarse: bool) -> None:
    network = timm.create_model("spach", architecture=ZOO["hybrid_plus"])
    groups = timm.models.group_parameters(network, network.group_matcher(coarse), reverse=True)
    order = [groups[name] for name in ("stem.conv1.weight", "stages.0.blocks.0.mlp.fc1.weight")]
    order += [groups["stages.2.blocks.2.mixer.fc1.weight"], groups["head.weight"]]
    assert order == sorted(set(order))
    assert groups["norm.weight"] == groups["stem.conv.bias"] == 0
    assert len(set(groups.values())) == (5 if coarse else 8)
    decayed = param_groups_layer_decay(network, layer_decay=0.5)
    total = sum(len(group["params"]) for group in decayed)
    assert total == len(list(network.parameters()))


def test_ema_follows_the_network() -> None:
    network = randomised(ZOO["hybrid_shared"])
    ema = ModelEmaV3(network, decay=0.5)
    before = ema.module.head.bias.clone()
    with torch.no_grad():
        network.head.bias += 1
    ema.update(network)
    torch.testing.assert_close(ema.module.head.bias, before + 0.5)


def test_local_folder_gives_the_network(
    small_network: tuple[Spach, torch.Tensor], tmp_path
) -> None:
    network, x = small_network
    (tmp_path / "config.json").write_text(json.dumps(model_config(network)))
    safetensors.torch.save_file(network.state_dict(), tmp_path / "model.safetensors")
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert loaded.architecture == network.architecture
    assert torch.equal(loaded(x), network(x))
    cfg = timm.data.resolve_model_data_config(loaded)
    assert cfg["input_size"] == (2, 16, 24)
    # A new head and other input channels, as timm does it.
    tuned = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=3, in_chans=1)
    assert torch.equal(tuned.eval()(x[:, :1]), torch.zeros(2, 3))
    backbone = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, features_only=True)
    expected = network.forward_intermediates(x, intermediates_only=True)
    torch.testing.assert_close(backbone.eval()(x), expected)


@pytest.mark.parametrize("stem", ["conv1", "conv4"])
def test_other_channels_keep_the_weights_of_the_stem(stem: str, tmp_path) -> None:
    network = randomised(small(("conv",), stem=stem))
    name = "stem.conv.weight" if stem == "conv1" else "stem.conv1.weight"
    (tmp_path / "config.json").write_text(json.dumps(model_config(network)))
    safetensors.torch.save_file(network.state_dict(), tmp_path / "model.safetensors")
    before = network.state_dict()[name]
    for channels in (1, 2, 4):
        loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, in_chans=channels)
        after = loaded.state_dict()[name]
        # The answer to an image whose channels are equal stays.
        torch.testing.assert_close(after.sum(1), before.sum(1))
        assert after.shape[1] == channels
    assert torch.equal(loaded.state_dict()["head_norm.weight"], network.head_norm.weight)


def test_timm_saves_what_it_loads(tmp_path) -> None:
    network = timm.create_model("spach", architecture=ZOO["hybrid_plus"].to_dict(), num_classes=3)
    randomise(network)
    timm.models.save_for_hf(network, str(tmp_path), safe_serialization=True)
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    x = images(ZOO["hybrid_plus"])
    assert torch.equal(loaded(x), network.eval()(x))


def test_weights_of_another_image_size_are_refused_for_a_token_mlp(tmp_path) -> None:
    network = randomised(ZOO["mlp"])
    (tmp_path / "config.json").write_text(json.dumps(model_config(network)))
    safetensors.torch.save_file(network.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(ArchitectureError, match=r"mixer\.fc1\.weight: shape \(12, 24\); expected"):
        timm.create_model(f"local-dir:{tmp_path}", pretrained=True, img_size=(16, 16))


def test_any_form_of_an_architecture_is_taken(tmp_path) -> None:
    architecture = ZOO["hybrid_shared"]
    file = tmp_path / "architecture.yaml"
    file.write_text(architecture.to_yaml())
    for form in (architecture, architecture.to_dict(), file, str(file)):
        assert timm.create_model("spach", architecture=form).architecture == architecture
    # Facts about data that the caller adds leave the architecture's own classes and channels.
    network = timm.create_model(
        "spach", architecture=architecture, pretrained_cfg={"crop_pct": 0.9}
    )
    assert network.architecture == architecture
    with pytest.raises(SpachNasError, match="expected an Architecture"):
        timm.create_model("spach")
    with pytest.raises(SpachNasError, match="did you mean 'attention'"):
        broken = architecture.to_dict()
        broken["stages"][1]["mixers"][1] = "atention"
        timm.create_model("spach", architecture=broken)


def test_wrong_image_sizes_are_explained() -> None:
    def message(name: str, height: int, width: int) -> str:
        with pytest.raises(ArchitectureError) as caught:
            timm.create_model("spach", architecture=ZOO[name])(torch.zeros(1, 2, height, width))
        return str(caught.value)

    assert message("mlp", 24, 16) == "image: 24x16; expected 16x24, the only size of mlp mixers"
    assert message("attention", 16, 22) == "image: 16x22; expected multiples of 4, such as 16x24"
    with pytest.raises(ArchitectureError, match="multiple of 32"):
        timm.create_model("spach_conv_ms_xxs", img_size=100)
    with pytest.raises(ArchitectureError, match="global_pool: 'max'; expected 'avg'"):
        timm.create_model("spach", architecture=ZOO["mlp"], global_pool="max")


@pytest.mark.parametrize("name", ["conv", "attention"])
def test_conv_and_attention_take_any_size_that_the_stages_halve(name: str) -> None:
    network = randomised(ZOO[name]).eval()
    assert network(torch.randn(1, 2, 8, 20)).shape == (1, 5)


@pytest.mark.parametrize("name", with_slow(REFERENCES, *list(REFERENCES)[:-4]))
def test_reference_architectures_survive_the_config(name: str) -> None:
    for reference in [REFERENCES[name]]:
        with torch.device("meta"):
            network = Spach(reference.architecture)
        plain = json.loads(json.dumps(model_config(network)))
        again = Architecture.from_dict(plain["model_args"]["architecture"])
        assert again == reference.architecture

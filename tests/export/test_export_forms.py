"""All forms of one bundle: what they compute, what is found when they do not, what is refused."""

import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from conftest import run_main
from effort import slow
from network_tools import randomised, small, zoo
from spach_nas.data.preprocessing import Preprocessing
from spach_nas.errors import BundleError
from spach_nas.export import Choice, choose, export, load_model, read_proof, verify
from spach_nas.export.bundle import MANIFEST, write_manifest
from spach_nas.export.exporting import FORMS
from spach_nas.export.formats import RELATIVE_TOLERANCE, check_archive
from spach_nas.export.proof import compare, present_forms, random_weights
from spach_nas.export.samples import embedded_sample
from spach_nas.networks import build
from spach_nas.networks.block import ChannelMlp
from spach_nas.space import mixers
from spach_nas.space.architecture import Architecture
from spach_nas.space.mixers import MixerCost, MixerSite, MixerSpec

# Every mixer, the deep stem, oblong images of two channels.
ARCHITECTURE = small(("conv",), ("attention", "mlp"), stem="conv4")
CLASSES = tuple("abcde")


def choice(architecture: Architecture = ARCHITECTURE) -> Choice:
    """A trained network, as far as an export can tell."""
    from safetensors.torch import save

    network = randomised(architecture)
    return Choice(
        architecture=architecture,
        name="net",
        weights=save(dict(network.state_dict())),
        preprocessing=Preprocessing(mean=(0.3, 0.2), std=(0.4, 0.5), class_names=CLASSES),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with all forms; not to be changed."""
    return export(choice(), out=tmp_path_factory.mktemp("forms") / "net", formats=None)


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(whole, tmp_path / "net"))


def rows(bundle: Path) -> dict[tuple[str, str], dict[str, float]]:
    return {
        (item["form"], item["weights"]): item
        for item in read_proof(bundle / "parity.json")["forms"]
    }


def test_a_bundle_holds_every_form_and_its_proof(whole: Path) -> None:
    assert {path.name for path in whole.iterdir()} == {
        *("README.md", "architecture.svg", "architecture.yaml", "config.json", "manifest.json"),
        *("model.onnx", "model.pt2", "model.safetensors", "parity.json", "preprocessing.json"),
    }
    found = rows(whole)
    assert set(found) == {
        (form, weights)
        for form in ("safetensors", "timm", "onnx", "pt2")
        for weights in ("bundle", "random")
    }
    for item in found.values():
        assert item["max_difference"] <= item["tolerance"] == RELATIVE_TOLERANCE * item["scale"]
        assert item["mean_difference"] <= item["max_difference"]
        assert item["top1_agreement"] == 1
        # Logits of order 1: nothing was hidden, by a zero head or otherwise.
        assert 0.1 < item["scale"] < 10
        assert item["images"] == 30


def test_a_verified_bundle_is_what_was_exported(whole: Path) -> None:
    found = verify(whole)
    assert found.problems == found.unchecked == ()
    assert len(found.agreements) == 9
    assert found.bundle == json.loads((whole / MANIFEST).read_text())["bundle"]


@slow
def test_torch_and_onnx_runtime_need_nothing_of_this_package(whole: Path, tmp_path: Path) -> None:
    images = torch.randn(3, 2, 16, 24, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        expected = load_model(whole)(images)
    save_file({"images": images, "expected": expected}, tmp_path / "both.safetensors")
    code = f"""
import sys
for name in ("spach_nas", "timm", "safetensors"):
    sys.modules[name] = None  # importing it fails
import torch, onnxruntime
images, expected = torch.load({str(tmp_path / "both.pt")!r}, weights_only=True)
network = torch.export.load({str(whole / "model.pt2")!r}).module()
session = onnxruntime.InferenceSession({str(whole / "model.onnx")!r})
for size in (1, 3):
    logits = network(images[:size])
    same = session.run(["logits"], {{"image": images[:size].numpy()}})[0]
    assert (logits - expected[:size]).abs().max() < 1e-4, "pt2"
    assert abs(same - expected[:size].numpy()).max() < 1e-4, "onnx"
print("equal")
"""
    torch.save((images, expected), tmp_path / "both.pt")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "equal", done.stderr
    assert expected.abs().max() > 0.1


def test_no_form_says_where_it_was_made(whole: Path) -> None:
    with zipfile.ZipFile(whole / "model.pt2") as archive:
        texts = [archive.read(name) for name in archive.namelist()]
    texts.append((whole / "model.onnx").read_bytes())
    here = str(Path(timm.__file__).parents[1]).encode()
    package = str(Path(mixers.__file__).parent).encode()
    assert not any(here in text or package in text for text in texts)


def test_an_empty_batch_gives_no_logits_in_any_form(whole: Path) -> None:
    none = torch.zeros(0, 2, 16, 24)
    for form in present_forms(whole):
        assert form.open(whole)(None)(none).shape == (0, 5), form.name


class Formats(TorchDispatchMode):
    """Notes the number formats of all that is computed under it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        found = func(*args, **(kwargs or {}))
        self.seen |= {item.dtype for item in tree_leaves(found) if isinstance(item, torch.Tensor)}
        return found


def test_export_and_proof_compute_in_float32(tmp_path: Path) -> None:
    with Formats() as formats:
        out = export(choice(), out=tmp_path / "net")
        assert verify(out).problems == ()
    assert torch.float32 in formats.seen
    assert formats.seen.isdisjoint({torch.bfloat16, torch.float16})


@pytest.mark.parametrize("name", ["hybrid_plus", "hybrid_shared"])
def test_breaking_any_part_shows_under_the_random_weights(name: str) -> None:
    network = build(zoo()[name]).eval()
    weights = random_weights(network)
    sample = embedded_sample(network.architecture).images
    hidden = []
    with torch.inference_mode():
        network.load_state_dict(weights)
        expected = network(sample)
        for part, value in weights.items():
            if not value.is_floating_point():
                continue  # a count of batches
            network.load_state_dict({**weights, part: torch.zeros_like(value)})
            if compare("net", "random", logits=network(sample), expected=expected).holds:
                hidden.append(part)
    assert hidden == []


def test_a_network_of_another_make_is_found(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(self: ChannelMlp, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return hidden

    monkeypatch.setattr(ChannelMlp, "forward", other)
    problems = "\n".join(verify(whole).problems)
    for form in ("onnx with bundle", "onnx with random", "pt2 with random", "recorded with bundle"):
        assert form in problems


def test_weights_of_another_training_are_found(bundle: Path) -> None:
    path = bundle / "model.safetensors"
    state = load_file(path)
    state["head.bias"][2] += 0.1
    save_file(state, path)
    assert verify(bundle).problems == (
        f"{path}: was changed; expected sha256 "
        + json.loads((bundle / MANIFEST).read_text())["files"]["model.safetensors"],
    )
    write_manifest(bundle)
    problems = "\n".join(verify(bundle).problems)
    assert "onnx with bundle weights: differs by up to 1.0e-01" in problems
    assert "pt2 with bundle weights" in problems
    assert "random" not in problems


def test_a_form_that_computes_something_else_stops_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = FORMS["timm"]
    wrong = replace(
        form, open=lambda folder: lambda weights: lambda x: 1.001 * form.open(folder)(weights)(x)
    )
    monkeypatch.setitem(FORMS, "timm", wrong)
    with pytest.raises(BundleError, match="timm with bundle weights: differs by up to"):
        export(choice(), out=tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load, save

    good = choice()
    assert good.weights is not None
    state = load(good.weights)
    state["head.bias"][0] = float("nan")
    with pytest.raises(BundleError, match="logits are not finite"):
        export(replace(good, weights=save(state)), out=tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


class Stubborn(torch.nn.Module):
    """A mixer that looks at its values, which no graph can."""

    def __init__(self, site: MixerSite) -> None:
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum().item() > 0 else -x


class Halving(torch.nn.Module):
    """A mixer with a weight, which a graph takes."""

    def __init__(self, site: MixerSite) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.full((site.width,), 0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * x.roll(1, dims=1)


def own(monkeypatch: pytest.MonkeyPatch, module: type) -> Choice:
    monkeypatch.setattr(mixers.MIXERS, "known", dict(mixers.MIXERS))
    mixers.register_mixer(
        MixerSpec(
            name="mine",
            short="mine",
            cost=lambda site: MixerCost(0, 0, 0),
            module=f"{__name__}:{module.__name__}",
        )
    )
    stage = replace(zoo()["conv"].stages[0], mixers=("conv", "mine"))
    return choice(replace(zoo()["conv"], stages=(stage,)))


def test_a_mixer_that_cannot_be_traced_leaves_forms_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = own(monkeypatch, Stubborn)
    out = export(network, out=tmp_path / "net", formats=None)
    left_out = read_proof(out / "parity.json")["left_out"]
    assert set(left_out) == {"onnx", "pt2"}
    assert all(reason.startswith("cannot be made: ") for reason in left_out.values())
    assert "Left out, onnx" in (out / "README.md").read_text()
    assert verify(out).problems == ()
    with pytest.raises(BundleError, match="--formats pt2: cannot be made"):
        export(network, out=tmp_path / "other", formats=("safetensors", "pt2"))
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_a_mixer_of_ones_own_leaves_traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = export(own(monkeypatch, Halving), out=tmp_path / "net", formats=("safetensors", "pt2"))
    assert rows(out)["pt2", "random"]["max_difference"] <= 1e-4


class Evil:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def without_others(bundle: Path, name: str) -> None:
    """As if the bundle had been exported like this."""
    for other in {"model.onnx", "model.pt2"} - {name}:
        (bundle / other).unlink()
    write_manifest(bundle)


@pytest.mark.parametrize("name", ["model.safetensors", "model.onnx", "model.pt2"])
@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_a_pickle_in_place_of_weights_is_refused(
    bundle: Path, tmp_path: Path, name: str, kind: str
) -> None:
    trace = tmp_path / "executed"
    if kind == "pickle":
        (bundle / name).write_bytes(pickle.dumps(Evil(trace)))
    else:
        torch.save({"model": Evil(trace)}, bundle / name)
    assert f"{name}: was changed; expected sha256" in verify(bundle).problems[0]
    without_others(bundle, name)
    problems = "\n".join(verify(bundle).problems)
    assert name in problems or name.removeprefix("model.") in problems
    assert not trace.exists()


def repack(path: Path, change: Callable[[str, bytes], bytes], extra: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: change(name, archive.read(name)) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (members | extra).items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"use_pickle": false', b'"use_pickle": true'),
        (b"Symbol('s", b"print() or Symbol('s"),
        (b"torch.ops.aten.linear.default", b"torch.hub.load"),
        (b'"guards_code": []', b'"guards_code": ["print()"]'),
        (b'"weight_0"', b'"../../weight_0"'),
    ],
)
def test_what_loading_a_pt2_would_execute_is_refused(bundle: Path, old: bytes, new: bytes) -> None:
    path = bundle / "model.pt2"
    seen = []

    def change(name: str, data: bytes) -> bytes:
        seen.append(old in data)
        return data.replace(old, new)

    repack(path, change, {})
    assert any(seen)
    with pytest.raises(BundleError, match=r"model\.pt2: .* might be executed"):
        check_archive(path, where=str(path))


@pytest.mark.parametrize(
    "name",
    ["archive/data/sample_inputs/model.pt", "archive/data/weights/model.pt", "archive/extra/a.py"],
)
def test_a_pickle_inside_a_pt2_is_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    path = bundle / "model.pt2"
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].split("/")[0]
    extra = {name.replace("archive", root, 1): pickle.dumps(Evil(tmp_path / "executed"))}
    repack(path, lambda _, data: data, extra)
    without_others(bundle, "model.pt2")
    assert "might be executed" in "\n".join(verify(bundle).problems)
    assert not (tmp_path / "executed").exists()


def test_a_form_without_its_runtime_is_told(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(
        FORMS, "onnx", replace(FORMS["onnx"], runtime=("no_such_package",), packages=("no_such",))
    )
    without_others(bundle, "model.onnx")
    found = verify(bundle)
    assert found.problems == ()
    assert found.unchecked == (
        "onnx: needs the packages no_such_package: pip install 'spach-nas[export]'",
    )
    code, _ = run_main("verify", str(bundle), "--strict")
    assert code == 1
    assert "not checked: onnx: needs the packages no_such_package" in capsys.readouterr().out
    with pytest.raises(BundleError, match="--formats onnx: needs the packages no_such"):
        export(choice(), out=bundle.parent / "other", formats=("safetensors", "onnx"))


def test_the_command_names_what_is_wrong(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without_others(bundle, "model.onnx")
    code, _ = run_main("verify", str(bundle))
    assert code == 0
    assert capsys.readouterr().out.splitlines()[-1] == "verified"
    (bundle / "model.onnx").unlink()
    code, lines = run_main("verify", str(bundle))
    assert code == 1
    assert lines == [f"{bundle / 'model.onnx'}: is missing"]


def test_a_bundle_leaves_again_with_other_forms(whole: Path, tmp_path: Path) -> None:
    out = export(choose(whole), out=tmp_path / "again")
    assert not (out / "model.onnx").exists()
    for name in ("model.safetensors", "preprocessing.json", "architecture.yaml", "config.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()

"""A plugin that misbehaves is told by its name, and never ends the command without a word."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from own_mixer import forget
from search_tools import SPACE, write_search
from spach_nas.config.plugins import load_plugins
from spach_nas.cost.closed_form import cost
from spach_nas.cost.memory import saved_bytes
from spach_nas.errors import ArchitectureError, PluginError
from spach_nas.networks.mixer_modules import check_mixers
from spach_nas.search.plan import plan_search
from spach_nas.space import mixers
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.mixers import MixerCost, MixerSite, MixerSpec, register_mixer

HERE = __name__


class Keeps(nn.Module):
    def __init__(self, site: MixerSite) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(site.width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Scalar(Keeps):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean()


class Transposed(Keeps):
    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2)


class Pooled(Keeps):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2), keepdim=True)


class Pair(Keeps):
    def forward(self, x: Tensor) -> Tensor:
        return x, x  # type: ignore[return-value]


class Raises(Keeps):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("no kernel for this")


class NeedsMore(Keeps):
    def __init__(self, site: MixerSite, hidden: int) -> None:
        super().__init__(site)


def no_module(site: MixerSite) -> str:
    return "a mixer"


def free(site: MixerSite) -> MixerCost:
    return MixerCost(site.width, 0, 0)


def architecture(*names: str) -> Architecture:
    stages = (
        Stage(mixers=("conv",), width=8, heads=2, expansion_ratio=2),
        Stage(mixers=names, width=16, heads=2, expansion_ratio=2),
    )
    return Architecture(stem="conv1", patch_size=4, stages=stages, image_size=(32, 48))


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("Scalar", r"maps features of \(2, 4, 6, 16\) to \(\); expected the same shape"),
        ("Transposed", r"to \(2, 16, 4, 6\); expected"),
        ("Pooled", r"to \(2, 1, 1, 16\); expected"),
        ("Pair", r"to tuple; expected"),
        ("Raises", r"cannot run on features .* RuntimeError: no kernel for this"),
        ("NeedsMore", r"missing 1 required positional argument: 'hidden'"),
        ("no_module", r"makes a str; expected a torch.nn.Module"),
        ("Missing", r"cannot be imported"),
    ],
)
def test_a_network_that_does_not_keep_its_shape_is_told(module: str, told: str) -> None:
    spec = MixerSpec(name="odd", short="odd", cost=free, module=f"{HERE}:{module}")
    register_mixer(spec)
    with pytest.raises(ArchitectureError, match=rf"^mixer 'odd': .*{told}"):
        check_mixers([architecture("conv", "odd")], [spec])


def test_a_network_that_works_passes_and_leaves_the_seed_alone() -> None:
    spec = MixerSpec(name="odd", short="odd", cost=free, module=f"{HERE}:Keeps")
    register_mixer(spec)
    before = torch.get_rng_state()
    check_mixers([architecture("odd")], [spec])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda site: 1 // 0, "raises ZeroDivisionError"),
        (lambda site: None, "raises TypeError"),
        (lambda site: (1, 2), r"gives \(1, 2\); expected 3 whole numbers \(params, macs, act"),
        (lambda site: MixerCost(1.5, 0, 0), r"gives \(1.5, 0, 0\); expected 3 whole"),
        (lambda site: MixerCost(-1, 0, 0), r"gives \(-1, 0, 0\); expected 3 whole numbers .* from"),
        (lambda site: MixerCost(float("nan"), 0, 0), r"gives \(nan, 0, 0\)"),
    ],
    ids=["raises", "none", "two", "fraction", "negative", "nan"],
)
def test_a_cost_function_that_fails_is_told(function: object, told: str) -> None:
    register_mixer(MixerSpec(name="odd", short="odd", cost=function, module=None))  # type: ignore[arg-type]
    with pytest.raises(PluginError, match=rf"^mixer 'odd': its cost at width 16 .*{told}"):
        cost(architecture("odd"))


def test_a_parameter_that_no_stage_has_is_told() -> None:
    with pytest.raises(ArchitectureError, match="parameters: 'head'; expected heads or token_r"):
        register_mixer(
            MixerSpec(
                name="odd", short="odd", cost=free, module=None, parameters=frozenset({"head"})
            )
        )


def test_a_count_of_numpy_is_a_count() -> None:
    import numpy as np

    counts = MixerCost(np.int64(3), np.int64(4), np.int64(5))  # type: ignore[arg-type]
    register_mixer(MixerSpec(name="odd", short="odd", cost=lambda site: counts, module=None))
    plain = mixers.mixer_cost("odd", MixerSite(8, (4, 4), 1, 1.0))
    assert plain == (3, 4, 5)
    assert all(type(item) is int for item in plain)


def test_a_function_of_saved_bytes_that_fails_is_told() -> None:
    spec = MixerSpec(
        name="odd", short="odd", cost=free, module=f"{HERE}:Keeps", saved=lambda site, item: None
    )  # type: ignore[arg-type,return-value]
    register_mixer(spec)
    with pytest.raises(PluginError, match="mixer 'odd': its saved at width 16"):
        saved_bytes(architecture("odd"))


@pytest.mark.parametrize("ending", ["import sys; sys.exit()", "raise SystemExit('bye')", "quit(3)"])
def test_a_plugin_that_ends_the_program_is_told(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaves.py").write_text(ending)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PluginError, match="plugin leaves: ends the program"):
        load_plugins(["leaves"])
    sys.modules.pop("leaves", None)


def test_a_search_refuses_a_mixer_that_does_not_work_before_it_begins(tmp_path: Path) -> None:
    register_mixer(MixerSpec(name="odd", short="odd", cost=free, module=f"{HERE}:Scalar"))
    stages = [{**SPACE["stages"][0], "mixers": ["conv", "odd"]}]  # type: ignore[index]
    path = write_search(tmp_path, space={**SPACE, "stages": stages})
    with pytest.raises(ArchitectureError, match=r"mixer 'odd': .* maps features of"):
        plan_search(path, out=tmp_path / "study")
    assert not (tmp_path / "study").exists()

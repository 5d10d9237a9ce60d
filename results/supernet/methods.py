"""Ways to train a supernet that `compare.py` compares, by name.

What the package has is an option of `SupernetSettings`; what it does not have is here whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import torch
from torch import nn

from spach_nas.config.supernet_settings import SupernetSettings
from spach_nas.cost.closed_form import cost
from spach_nas.networks.block import GAMMA_INIT, Block
from spach_nas.networks.spach import Spach
from spach_nas.networks.supernet import Supernet
from spach_nas.space.architecture import Architecture
from spach_nas.training import supernet_loop
from spach_nas.training.supernet_loop import Draw, ends_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """One of them.

    Attributes:
        settings: Of the package.
        paths: Makes the function that gives the next subnet; the same seeds come in the same order.
        stems_take_turns: Whether the ends of a step are those of one stem, another in the next.
        supernet: Makes the supernet from space, rule, data and drawn proxies.
        before_step: Called with the optimizer and the paths before each of its steps.
    """

    settings: SupernetSettings
    paths: Callable[[Draw], Draw] = lambda draw: draw
    stems_take_turns: bool = False
    supernet: Callable[..., Supernet] = lambda space, rule, data, _: Supernet(space, rule, data)
    before_step: Callable[[torch.optim.Optimizer, Draw], None] | None = None


class TurnsOfStems:
    """The subnets of a step, in place of those of the package: the ends have one stem."""

    def __init__(self, proxies: Sequence[Architecture]) -> None:
        stems = sorted({item.stem for item in proxies})
        self.pairs = [ends_of(item for item in proxies if item.stem == stem) for stem in stems]
        self.original = supernet_loop._paths

    def __call__(self, run, step: int):
        """Largest, smallest, drawn ones."""
        return self.original(replace(run, ends=self.pairs[step % len(self.pairs)]), step)


class NearPaths:
    """Bounded cost gap: MACs of consecutive paths differ by at most half of the smaller."""

    most = 1.5

    def __init__(self, draw: Draw) -> None:
        self.draw, self.last = draw, 0

    def __call__(self, seed: int) -> Architecture:
        """The first of the draws that is near enough."""
        for more in range(1000):
            found = self.draw(seed + more)
            macs = cost(found).macs
            if not self.last or 1 / self.most <= macs / self.last <= self.most:
                break
        self.last = macs
        return found


class PathsOfAGroup:
    """The two random paths of a step of a sandwich have one width of stage 1, their group."""

    def __init__(self, draw: Draw) -> None:
        self.draw, self.number, self.group = draw, 0, 0

    def __call__(self, seed: int) -> Architecture:
        """The next path: of any group, or of that of the one before."""
        self.number += 1
        for more in range(1000):
            found = self.draw(seed + more)
            if self.number % 2 or found.stages[0].width == self.group:
                break
        self.group = found.stages[0].width
        return found


class DynamicTraining:
    """Momentum of its own for each group, and a rate that falls later for wide ones.

    After Jeon et al. 2025, arXiv:2503.10740: there for single paths, clustered by structure.
    """

    peak = 5e-3
    moments = ("momentum_buffer", "exp_avg")

    def __init__(self) -> None:
        self.exponents = {8: 1.25, 12: 1.0, 16: 0.75}  # by width of stage 1 of the proxy
        self.kept: WeakKeyDictionary = WeakKeyDictionary()

    def __call__(self, optimizer: torch.optim.Optimizer, paths: PathsOfAGroup) -> None:
        """Exchange the momenta for those of the group, and set the rate."""
        group = paths.group
        for part in optimizer.param_groups:
            part["lr"] *= (part["lr"] / self.peak) ** (self.exponents[group] - 1)
        current, kept = self.kept.setdefault(optimizer, [group, {}])
        if current == group:
            return
        self.kept[optimizer][0] = group
        for parameter, state in optimizer.state.items():
            for name in self.moments:
                if name in state:
                    kept[current, parameter, name] = state[name]
                    other = kept.get((group, parameter, name))
                    state[name] = state[name].clone() if other is None else other


class OwnScales(Supernet):
    """Each width has a gamma_1 of its own in every branch, and norms of its own.

    After Gong et al. 2022, NASViT, where each layer has a scale for each of its sizes.
    """

    def __init__(self, space, rule, data, drawn) -> None:
        super().__init__(space, rule, data)
        found = {}
        for proxy in dict.fromkeys(drawn):
            for key, module, name in _scales(super().subnet(proxy), proxy):
                value = getattr(module, name)
                initial = {"gamma_1": GAMMA_INIT, "weight": 1.0, "bias": 0.0}[name]
                found[key] = nn.Parameter(torch.full(value.shape, initial))
        self.scales = nn.ParameterDict(dict(sorted(found.items())))

    def subnet(self, architecture: Architecture, *, drop_path_rate: float = 0.0) -> Spach:
        """With the scales of its widths."""
        network = super().subnet(architecture, drop_path_rate=drop_path_rate)
        for key, module, name in _scales(network, architecture):
            module.__dict__[name] = self.scales[key]
        return network

    def no_weight_decay(self) -> set[str]:
        """The scales too."""
        return super().no_weight_decay() | {f"scales.{key}" for key in self.scales}


def _scales(network: Spach, proxy: Architecture):
    """Key, module and name of each parameter that belongs to a width."""
    mixers = [mixer for stage in proxy.stages for mixer in stage.mixers]
    mixer = ""
    for path, module in network.named_modules():
        if isinstance(module, Block):
            mixer = mixers.pop(0)
            names = ("gamma_1",) if module.is_branch else ()
        else:
            names = ("weight", "bias") if isinstance(module, nn.LayerNorm) else ()
        of = mixer if path.endswith("norm1") or names == ("gamma_1",) else "trunk"
        for name in names:
            size = len(getattr(module, name))
            yield f"{path}_{of}_{name}_{size}".replace(".", "_"), module, name


_SANDWICH = SupernetSettings(paths="sandwich", distillation=0)
_DISTILLED = SupernetSettings(paths="sandwich", distillation=0.5)
METHODS = {
    "single": Method(settings=SupernetSettings(paths="single")),
    "sandwich": Method(settings=_SANDWICH),
    "sandwich_near_paths": Method(settings=_SANDWICH, paths=NearPaths),
    "sandwich_dynamic": Method(
        settings=_SANDWICH, paths=PathsOfAGroup, before_step=DynamicTraining()
    ),
    "sandwich_own_scales": Method(settings=_SANDWICH, supernet=OwnScales),
    "sandwich_distilled": Method(settings=_DISTILLED),
    "ends_of_each_stem": Method(settings=_DISTILLED, stems_take_turns=True),
    "near_paths": Method(settings=_DISTILLED, paths=NearPaths),
    "dynamic": Method(settings=_DISTILLED, paths=PathsOfAGroup, before_step=DynamicTraining()),
    "own_scales": Method(settings=_DISTILLED, supernet=OwnScales),
}

"""A network that holds all architectures of a search space, whose weights they share.

Letters: B batch, C width, H heads, D channels of a head, N positions, T hidden positions.

A subnet is an ordinary `Spach` whose parameters are views of the shared ones, so there is one
forward code, and what is extracted computes the same. What is shared:

    stem            one for each kind and patch size; the first channels of a narrower one
    trunk           depthwise convolutions, norms, channel MLPs: the first channels and units
    blocks          the first ones of a shallower stage
    branches        for each block and mixer a norm1, a gamma_1 and a mixer of its own
    attention       the first heads, and the first channels of each head
    token-MLP       the first hidden positions; the positions are those of one resolution
    own mixers      nothing is known of their weights: one module for each site that occurs

Sources: Yu et al. 2020, arXiv:2003.11142 (BigNAS), Cai et al. 2020, arXiv:1908.09791 (Once-for-All)
and Chen et al. 2021, arXiv:2107.00651 (AutoFormer). Unlike there, blocks of several mixers share a
trunk, as SPACH's mixers are nested: with gamma_1 = 0 all of them are the conv block.
"""

import itertools
import math
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from spach_nas.errors import ArchitectureError, SearchSpaceError, one_of
from spach_nas.networks.block import (
    GAMMA_INIT,
    NORM_EPS,
    Block,
    ChannelMlp,
    Downsample,
    SpachStage,
    build_stem,
)
from spach_nas.networks.mixer_modules import Attention, TokenMlp, load_mixer
from spach_nas.networks.spach import Spach, init_weights
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.layouts import Layout
from spach_nas.space.mixers import MixerSite, MixerSpec, get_mixer, resolve_options
from spach_nas.space.scaling import DataShape, ProxyRule, scale, scale_stage
from spach_nas.space.search_space import SearchSpace
from spach_nas.space.stage_space import (
    HeadsRule,
    StageSpace,
    stage_choices,
    stage_heads,
    stage_width,
)

# Modules of one mixer of a user's in one block. More would hardly be trained.
MOST_COPIES = 32
_KEPT_BLOCKS = 1024


class SharedAttention(nn.Module):
    """The weights of attention for up to so many heads of so many channels."""

    def __init__(self, width: int, *, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.qkv = nn.Linear(width, 3 * heads * head_width)
        self.proj = nn.Linear(heads * head_width, width)


class SharedBranch(nn.Module):
    """What a mixer adds to a block."""

    def __init__(self, width: int, mixer: nn.Module) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.gamma_1 = nn.Parameter(torch.full((width,), GAMMA_INIT))
        self.mixer = mixer


class SharedBlock(nn.Module):
    """The trunk of a block at its largest, and a branch for each mixer."""

    def __init__(self, extent: "StageExtent") -> None:
        super().__init__()
        C = extent.width
        self.dwconv = nn.Conv2d(C, C, 3, padding=1, groups=C)
        self.norm2 = nn.LayerNorm(C, eps=NORM_EPS)
        self.mlp = ChannelMlp(C, extent.hidden)
        self.branches = nn.ModuleDict(
            {name: SharedBranch(C, _shared_mixer(name, extent)) for name in extent.branches}
        )


class SharedStage(nn.Module):
    """The blocks of a stage at its deepest; `shared` holds the mixers that its blocks may share."""

    def __init__(self, extent: "StageExtent", *, before: int | None) -> None:
        super().__init__()
        self.downsample = None if before is None else Downsample(before, extent.width)
        self.blocks = nn.ModuleList(SharedBlock(extent) for _ in range(extent.depth))
        self.shared = nn.ModuleDict(
            {name: _shared_mixer(name, extent) for name in extent.branches if extent.shares}
        )


class Supernet(nn.Module):
    """The shared weights of all proxies of a search space.

    Attributes:
        space: The search space.
        rule: From its targets to the proxies that are the subnets. The rule without changes makes
            a supernet of the targets themselves.
        data: Channels and classes of the data.

    Raises:
        SearchSpaceError: The weights of some choice cannot be shared; the message names it.
        ArchitectureError: A mixer's module cannot be imported.
    """

    def __init__(self, space: SearchSpace, rule: ProxyRule, data: DataShape) -> None:
        super().__init__()
        check_shareable(space, rule)
        self.space, self.rule, self.data = space, rule, data
        self._blocks: dict[Hashable, Block] = {}
        extents = stage_extents(space, rule)
        widths = [extent.width for extent in extents]
        self.stems = nn.ModuleDict(
            {
                _stem_key(largest): build_stem(largest)
                for largest in _largest_stems(space, rule, data, width=widths[0])
            }
        )
        self.norm = nn.LayerNorm(widths[0], eps=NORM_EPS)
        self.stages = nn.ModuleList(
            SharedStage(extent, before=before)
            for extent, before in zip(extents, [None, *widths[:-1]], strict=True)
        )
        self.head_norm = nn.LayerNorm(widths[-1], eps=NORM_EPS)
        self.head = nn.Linear(widths[-1], data.num_classes)
        init_weights(self)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def subnet(self, architecture: Architecture, *, drop_path_rate: float = 0.0) -> Spach:
        """The network of a proxy, on the shared weights: training it trains them.

        It has no parameters of its own: an optimizer takes those of the supernet. The running
        statistics of BatchNorm are fresh: they belong to a width, see `recalibrate`.

        Raises:
            ArchitectureError: It is not in the supernet; the message says by what.
        """
        places = iter(
            (number, index)
            for number, stage in enumerate(architecture.stages)
            for index in range(stage.depth)
        )

        def make_block(
            mixer: str, site: MixerSite, *, expansion_ratio: float, shared: bool, drop_path: float
        ) -> Block:
            # Making modules takes longer than to give them weights: a fifth of a step of a proxy.
            key = (next(places), mixer, site, expansion_ratio, shared, drop_path)
            if key not in self._blocks:
                if len(self._blocks) >= _KEPT_BLOCKS:
                    self._blocks.clear()
                self._blocks[key] = Block(
                    mixer,
                    site,
                    expansion_ratio=expansion_ratio,
                    shared=shared,
                    drop_path=drop_path,
                )
            return self._blocks[key]

        with torch.random.fork_rng(devices=()):  # its initial weights are thrown away
            network = Spach(architecture, drop_path_rate=drop_path_rate, make_block=make_block)
        stem = _stem_key(architecture)
        if stem not in self.stems:
            raise _outside(f"stem {architecture.stem} with patches of {architecture.patch_size}")
        _share(network.stem, self.stems[stem])
        network.stem.to(self.norm.weight)  # its running statistics
        for name in ("norm", "head_norm", "head"):
            _share(getattr(network, name), getattr(self, name))
        if len(architecture.stages) != len(self.stages):
            raise _outside(f"{len(architecture.stages)} stages")
        for number, (stage, resolution) in enumerate(
            zip(architecture.stages, architecture.resolutions, strict=True)
        ):
            into, shared = network.stages[number], self.stages[number]
            assert isinstance(into, SpachStage) and isinstance(shared, SharedStage)
            try:
                _share_stage(into, shared, stage, resolution)
            except ArchitectureError as problem:
                raise ArchitectureError(f"stages[{number}]: {problem}") from None
        return network

    def extract(self, architecture: Architecture) -> Spach:
        """A proxy with a copy of its share of the weights, for whatever an ordinary network is for.

        Raises:
            ArchitectureError: It is not in the supernet; the message says by what.
        """
        shared = self.subnet(architecture)
        with torch.random.fork_rng(devices=()), torch.no_grad():
            network = Spach(architecture).to(self.norm.weight)
            for name, tensor in (*network.named_parameters(), *network.named_buffers()):
                module, _, leaf = name.rpartition(".")
                tensor.copy_(getattr(shared.get_submodule(module), leaf))
        return network

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the blocks of subnets, whose weights are views."""
        return {**self.__dict__, "_blocks": {}}

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without weight decay: gamma_1."""
        return {name for name, _ in self.named_parameters() if name.endswith("gamma_1")}


@torch.no_grad()
def recalibrate(network: Spach, batches: Iterable[Tensor]) -> None:
    """Set the running statistics of BatchNorm to the means over batches (B, c, H, W) of images.

    Those of a `conv4` stem depend on the stem alone, so that only it is run. Leaves the network in
    eval mode. A network without BatchNorm is left as it is.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    inside = [module for module in network.stem.modules() if isinstance(module, _BatchNorm)]
    network.eval()
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
        norm.train()
    for images in batches:
        (network.stem if len(inside) == len(norms) else network)(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def check_shareable(space: SearchSpace, rule: ProxyRule) -> None:
    """Whether the proxies of a space can share their weights.

    Raises:
        SearchSpaceError: A line for each choice whose weights cannot be shared.
    """
    mistakes = []
    if rule.image_size is None and len(space.image_size) > 1:
        mistakes.append(
            f"image_size: {_listed(space.image_size)}; expected one: a supernet is trained on "
            "images of one size"
        )
    names = dict.fromkeys(name for stage in space.stages for name in stage.mixers.names)
    fixed = [name for name in names if get_mixer(name).fixed_resolution]
    if fixed and rule.patch_size is None and len(space.patch_size) > 1:
        mistakes.append(
            f"patch_size: {_listed(space.patch_size)} with {one_of(fixed)} mixers, whose weights "
            "belong to one resolution and cannot be shared; expected one patch size, in the space "
            "or in the proxy"
        )
    if not mistakes:
        mistakes = [
            f"stages[{number}].mixers: {name!r} with {len(sites)} settings of what it reads "
            f"({_read_by(get_mixer(name))}); expected at most {MOST_COPIES}: weights of your own "
            "mixers cannot be shared, so that each setting has its own"
            for number, extent in enumerate(stage_extents(space, rule))
            for name, sites in extent.own_sites.items()
            if len(sites) > MOST_COPIES
        ]
    if mistakes:
        raise SearchSpaceError("\n".join(f"supernet: {line}" for line in mistakes))


@dataclass(frozen=True, kw_only=True, slots=True)
class StageExtent:
    """The largest sizes of a stage over all proxies.

    Attributes:
        width: Channels.
        hidden: Of the channel MLP.
        depth: Blocks.
        heads: Of attention.
        head_width: Channels of a head.
        tokens: Positions of the feature map.
        token_hidden: Hidden positions of a token-MLP.
        branches: Names of its mixers that have weights.
        shares: Whether its blocks may share a mixer function.
        own_sites: By name, where the mixers of a user's may stand.
    """

    width: int
    hidden: int
    depth: int
    heads: int
    head_width: int
    tokens: int
    token_hidden: int
    branches: tuple[str, ...]
    shares: bool
    own_sites: dict[str, dict[str, MixerSite]]


def stage_extents(space: SearchSpace, rule: ProxyRule) -> list[StageExtent]:
    """The largest sizes of each stage over all proxies of a space."""
    sides = rule.image_size or (space.image_size[0],) * 2
    patches = (rule.patch_size,) if rule.patch_size else space.patch_size
    extents = []
    for number, (choices, stages) in enumerate(
        zip(space.stages, _proxies(space, rule), strict=True)
    ):
        grids = [tuple(side // patch >> number for side in sides) for patch in patches]
        tokens = max(height * width for height, width in grids)
        branches = tuple(name for name in choices.mixers.names if get_mixer(name).is_branch)
        extents.append(
            StageExtent(
                width=max(stage.width for stage in stages),
                hidden=max(int(stage.expansion_ratio * stage.width) for stage in stages),
                depth=_largest_depth(choices, rule),
                heads=max(stage.heads for stage in stages),
                head_width=max(stage.width // stage.heads for stage in stages),
                tokens=tokens,
                token_hidden=max(int(stage.token_ratio * tokens) for stage in stages),
                branches=branches,
                shares=any(space.shared if choices.shared is None else choices.shared),
                own_sites={
                    name: {
                        _site_key(get_mixer(name), site): site
                        for stage, grid in itertools.product(stages, grids)
                        for site in (_site(stage, grid),)
                    }
                    for name in branches
                    if not _is_known(name)
                },
            )
        )
    return extents


def _proxies(space: SearchSpace, rule: ProxyRule) -> Iterator[list[Stage]]:
    """For each stage, its proxies in all sizes; each has every mixer once."""
    reachable: set[tuple[int | None, int | None]] = {(None, None)}  # first width, width before
    for stage in space.stages:
        following: set[tuple[int | None, int | None]] = set()
        sizes: set[tuple[int, int]] = set()
        heads = stage.heads or space.heads
        for first, before in reachable:
            for value in stage_choices(stage)["width"]:
                width = stage_width(stage, value, before)
                following.add((first or width, width))
                for each in (heads,) if isinstance(heads, HeadsRule) else heads:
                    sizes.add((width, stage_heads(each, first or width, width)))
        options = dict(space.options) | dict(stage.options)
        yield [
            scale_stage(
                Stage(
                    mixers=stage.mixers.names,
                    width=width,
                    heads=count,
                    expansion_ratio=expansion,
                    token_ratio=token_ratio,
                    options=resolve_options(
                        dict(zip(options, values, strict=True)), stage.mixers.names
                    ),
                ),
                rule,
            )
            for width, count in sorted(sizes)
            for expansion in stage.expansion_ratio or space.expansion_ratio or ()
            for token_ratio in stage.token_ratio or space.token_ratio
            for values in itertools.product(*options.values())
        ]
        reachable = following


def _largest_depth(choices: StageSpace, rule: ProxyRule) -> int:
    def blocks(run: int) -> int:
        return max(1, math.floor(run * rule.depth_scale + 0.5)) if run else 0  # as `scale` does

    depth = max(choices.depth)
    if len(choices.mixers.names) == 1:
        return blocks(depth)
    if isinstance(choices.mixers, Layout):
        return max(blocks(depth - last) + blocks(last) for last in range(depth + 1))
    return depth  # where all neighbours differ, each is a run of its own


def _largest_stems(
    space: SearchSpace, rule: ProxyRule, data: DataShape, *, width: int
) -> Iterator[Architecture]:
    """For each kind of stem and patch size, an architecture of one stage with the widest one."""
    stage = Stage(mixers=("conv",), width=width, heads=1, expansion_ratio=1)
    side = space.image_size[0]
    for kind, patch in itertools.product(space.stem, space.patch_size):
        target = Architecture(
            stem=kind,
            stem_width=max(space.stem_width),
            patch_size=patch,
            stages=(stage,),
            image_size=(side, side),
        )
        yield replace(scale(target, rule, data), stages=(stage,))


def _stem_key(architecture: Architecture) -> str:
    return f"{architecture.stem}_patch{architecture.patch_size}"


def _is_known(name: str) -> bool:
    return get_mixer(name).module in _KNOWN


_KNOWN = tuple(f"{kind.__module__}:{kind.__name__}" for kind in (Attention, TokenMlp))


def _site(stage: Stage, resolution: tuple[int, ...]) -> MixerSite:
    height, width = resolution
    return MixerSite(stage.width, (height, width), stage.heads, stage.token_ratio, stage.options)


def _site_key(spec: MixerSpec, site: MixerSite) -> str:
    """What a mixer of a user's reads of its site, as the name of a module."""
    parts = [f"w{site.width}", f"r{site.resolution[0]}x{site.resolution[1]}"]
    parts += [f"{name}{getattr(site, name)}" for name in sorted(spec.parameters)]
    parts += [f"{name}{site.option(name)}" for name in sorted(spec.options)]
    return "_".join(parts).replace(".", "p")


def _read_by(spec: MixerSpec) -> str:
    return ", ".join(["width", *sorted(spec.parameters), *sorted(spec.options)])


def _shared_mixer(name: str, extent: StageExtent) -> nn.Module:
    if name in extent.own_sites:
        sites = extent.own_sites[name]
        return nn.ModuleDict({key: load_mixer(get_mixer(name), at) for key, at in sites.items()})
    if get_mixer(name).module == _KNOWN[0]:
        return SharedAttention(extent.width, heads=extent.heads, head_width=extent.head_width)
    positions = nn.Module()
    positions.fc1 = nn.Linear(extent.tokens, extent.token_hidden)
    positions.fc2 = nn.Linear(extent.token_hidden, extent.tokens)
    return positions


def _share_stage(
    into: SpachStage, shared: SharedStage, stage: Stage, resolution: tuple[int, int]
) -> None:
    site = _site(stage, resolution)
    if stage.depth > len(shared.blocks):
        raise _outside(f"{stage.depth} blocks")
    if into.downsample is not None and shared.downsample is not None:
        _share(into.downsample, shared.downsample)
    for name in into.shared:
        if name not in shared.shared:
            raise _outside(f"a shared {name}")
        into.shared[name] = _mixer_at(name, site, into.shared[name], shared.shared[name])
    for name, block, source in zip(stage.mixers, into.blocks, shared.blocks, strict=False):
        assert isinstance(block, Block) and isinstance(source, SharedBlock)
        for part in ("dwconv", "norm2", "mlp"):
            _share(getattr(block, part), getattr(source, part))
        if not block.is_branch:
            continue
        if name not in source.branches:
            raise _outside(name)
        branch = source.branches[name]
        assert isinstance(branch, SharedBranch)
        _share(block.norm1, branch.norm1)
        _share_first(block, "gamma_1", branch.gamma_1)
        if block.mixer is not None:
            block.mixer = _mixer_at(name, site, block.mixer, branch.mixer)


def _mixer_at(name: str, site: MixerSite, mixer: nn.Module, shared: nn.Module) -> nn.Module:
    """The mixer of a subnet on shared weights."""
    if isinstance(shared, nn.ModuleDict):
        key = _site_key(get_mixer(name), site)
        if key not in shared:
            raise _outside(f"{name} with {key}")
        return shared[key]
    if isinstance(shared, SharedAttention):
        assert isinstance(mixer, Attention)
        _share_heads(mixer, shared)
    else:
        _share(mixer, shared)
    return mixer


def _share_heads(into: Attention, shared: SharedAttention) -> None:
    """The first heads, and the first channels of each, of q, k and v."""
    width = into.proj.out_features
    heads, part = into.heads, width // into.heads
    H, D, C = shared.heads, shared.head_width, shared.proj.out_features
    if heads > H or part > D or width > C:
        raise _outside(f"{heads} heads of {part} channels at width {width}")
    weight, bias = shared.qkv.weight.view(3, H, D, C), shared.qkv.bias.view(3, H, D)
    proj = shared.proj.weight.view(C, H, D)
    views = {
        "qkv.weight": weight[:, :heads, :part, :width].reshape(3 * width, width),
        "qkv.bias": bias[:, :heads, :part].reshape(3 * width),
        "proj.weight": proj[:width, :heads, :part].reshape(width, width),
        "proj.bias": shared.proj.bias[:width],
    }
    for name, view in views.items():
        module, leaf = name.split(".")
        _set(into.get_submodule(module), leaf, view)


def _share(into: nn.Module, shared: nn.Module) -> None:
    """Make each parameter of a module the first part, in every axis, of the shared one."""
    for module, source in zip(into.modules(), shared.modules(), strict=True):
        for name, parameter in source._parameters.items():
            if parameter is not None:
                _share_first(module, name, parameter)


def _share_first(module: nn.Module, name: str, shared: Tensor) -> None:
    shape = getattr(module, name).shape
    if any(size > most for size, most in zip(shape, shared.shape, strict=True)):
        raise _outside(f"{name} of {tuple(shape)} where {tuple(shared.shape)} is the largest")
    _set(module, name, shared[tuple(map(slice, shape))])


def _set(module: nn.Module, name: str, view: Tensor) -> None:
    # A plain attribute: a view of a parameter is not one itself.
    module._parameters.pop(name, None)
    module.__dict__[name] = view


def _outside(what: str) -> ArchitectureError:
    return ArchitectureError(f"{what}; expected an architecture that the supernet holds")


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))

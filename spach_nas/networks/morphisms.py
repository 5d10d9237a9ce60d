"""A network that begins with the weights of another one and computes the same, where it can.

The mixers of the framework are nested: a block with attention or a token-MLP is a conv block plus
a branch that gamma_1 scales. So a trained network becomes deeper, wider or hybrid without a change
of its function, and goes on learning from there. After Chen et al. 2016, "Net2Net",
arXiv:1511.05641, and Wei et al. 2016, "Network Morphism", arXiv:1603.01670. They copy a channel
with equal shares, which then learn the same for ever; here the copies get random shares.

Letters: C width, D channels of a head, h hidden channels; a prime marks those of the new network.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from spach_nas.errors import ArchitectureError
from spach_nas.networks.spach import Spach, build
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.mixers import MixerSite, get_mixer

State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One difference between two architectures.

    Attributes:
        place: Where, such as `stages[2].blocks[3]`.
        text: What changes.
        exact: Whether the network can compute the same after it.
    """

    place: str
    text: str
    exact: bool

    def __str__(self) -> str:
        return f"{self.place}: {self.text}{'' if self.exact else ' (approximate)'}"


def changes(before: Architecture, after: Architecture) -> tuple[Change, ...]:
    """What must change to make one architecture of another, first stage first.

    Raises:
        ArchitectureError: There is no morphism: number of stages, patch size, image size or
            channels of the image differ. One line for each.
    """
    mistakes = [
        f"{name}: {theirs}; expected {ours}, as in the network that it begins with"
        for name, ours, theirs in (
            ("stages", len(before.stages), len(after.stages)),
            ("patch_size", before.patch_size, after.patch_size),
            ("image_size", before.image_size, after.image_size),
            ("in_channels", before.in_channels, after.in_channels),
        )
        if ours != theirs
    ]
    if mistakes:
        raise ArchitectureError("\n".join(mistakes))
    found = [*_stem_changes(before, after)]
    for number, (old, new) in enumerate(zip(before.stages, after.stages, strict=True)):
        sites = _site(before, number), _site(after, number)
        found += _stage_changes(f"stages[{number}]", old, new, sites=sites)
    if before.num_classes != after.num_classes:
        text = f"{after.num_classes} classes instead of {before.num_classes}, begun anew"
        found.append(Change(place="head", text=text, exact=False))
    return tuple(found)


@torch.no_grad()
def morph(network: Spach, architecture: Architecture, *, seed: int = 0) -> Spach:
    """A network of an architecture that begins with the weights of another network.

    Its outputs equal those of `network`, up to rounding, if all `changes` are exact. Others keep
    what fits: the channels and hidden units with the largest weights, blocks with equal mixers. A
    new branch begins with gamma_1 = 0, a new block adds nothing yet, a new hidden unit has no
    effect yet.

    Args:
        network: The trained network; it stays as it is.
        architecture: Of the new network.
        seed: Of new weights, and of the shares of copied channels.

    Raises:
        ArchitectureError: There is no morphism; see `changes`.
    """
    before = network.architecture
    changes(before, architecture)
    like = network.norm.weight
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        grown = build(architecture).to(like.dtype)
    work = _Work(
        old={name: value.detach().cpu() for name, value in network.state_dict().items()},
        fresh=grown.state_dict(),
        generator=torch.Generator().manual_seed(seed),
    )
    widths = [
        work.channels(old.width, new.width, weights=work.inputs(number))
        for number, (old, new) in enumerate(zip(before.stages, architecture.stages, strict=True))
    ]
    state = _stem(work, before, architecture, first=widths[0])
    for number, channels in enumerate(widths):
        if number:
            state |= _downsample(work, f"stages.{number}.downsample.", widths[number - 1], channels)
        state |= _stage(work, before, architecture, number=number, channels=channels)
    state |= work.produced("head_norm.", widths[-1])
    if before.num_classes == architecture.num_classes:
        state["head.weight"] = widths[-1].consume(work.old["head.weight"])
        state["head.bias"] = work.old["head.bias"]
    grown.load_state_dict(work.fresh | state)
    return grown.to(like.device)


@dataclass(frozen=True, slots=True)
class _Channels:
    """Which old channel each new one copies.

    Attributes:
        source: Old channel of each new one, (C',).
        share: Of the old channel's weight in what reads it, (C',): those of all its copies add up
            to 1.
    """

    source: Tensor
    share: Tensor

    def produce(self, weight: Tensor, dim: int = 0) -> Tensor:
        """What makes the channels, along `dim`."""
        return weight.index_select(dim, self.source)

    def consume(self, weight: Tensor, dim: int = 1) -> Tensor:
        """What reads the channels, along `dim`."""
        shape = [-1 if axis == dim else 1 for axis in range(weight.ndim)]
        return weight.index_select(dim, self.source) * self.share.to(weight).view(shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    old: Mapping[str, Tensor]
    fresh: State
    generator: torch.Generator

    def channels(self, before: int, after: int, *, weights: Tensor) -> _Channels:
        """How channels are copied, or chosen: those of which the largest `weights` (B,) read."""
        if after <= before:
            kept = torch.arange(before) if after == before else _largest(weights, after)
            return _Channels(kept, torch.ones(after, dtype=torch.float64))
        source = torch.arange(after) % before
        parts = 0.5 + torch.rand(after, generator=self.generator, dtype=torch.float64)
        whole = torch.zeros(before, dtype=torch.float64).index_add_(0, source, parts)
        return _Channels(source, parts / whole[source])

    def inputs(self, stage: int) -> Tensor:
        """How much the blocks of a stage read of each channel, (C,)."""
        names = [name for name in self.old if name.startswith(f"stages.{stage}.blocks.")]
        read = [self.old[name] for name in names if name.endswith(".mlp.fc1.weight")]
        return torch.stack([weight.square().sum(0) for weight in read]).sum(0)

    def produced(self, prefix: str, channels: _Channels, *, old: str | None = None) -> State:
        """A layer that makes the channels, such as a norm, by its names in the new network."""
        source = _under(self.old, prefix if old is None else old)
        return {
            prefix + name: channels.produce(value) if value.ndim else value
            for name, value in source.items()
        }


def _stem_changes(before: Architecture, after: Architecture) -> Iterator[Change]:
    if before.stem != after.stem:
        text = f"{after.stem} instead of {before.stem}, begun anew"
        yield Change(place="stem", text=text, exact=False)
    elif before.stem_width != after.stem_width:
        wider = after.stem_width > before.stem_width
        text = f"{after.stem_width} instead of {before.stem_width}"
        yield Change(place="stem_width", text=text, exact=wider)


def _stage_changes(
    place: str, before: Stage, after: Stage, *, sites: tuple[MixerSite, MixerSite]
) -> Iterator[Change]:
    if before.width != after.width:
        # A LayerNorm keeps its mean and variance only if every channel has as many copies.
        exact = after.width % before.width == 0
        text = f"{after.width} instead of {before.width}"
        yield Change(place=f"{place}.width", text=text, exact=exact)
    hidden = [int(stage.expansion_ratio * stage.width) for stage in (before, after)]
    if hidden[0] != hidden[1]:
        text = f"{hidden[1]} hidden channels instead of {hidden[0]}"
        yield Change(place=f"{place}.expansion_ratio", text=text, exact=hidden[1] > hidden[0])
    pairs = aligned(before.mixers, after.mixers)
    for lost in sorted(set(range(before.depth)) - set(pairs)):
        text = f"block {lost} of {before.depth} left out"
        yield Change(place=f"{place}.blocks", text=text, exact=False)
    for number, (source, mixer) in enumerate(zip(pairs, after.mixers, strict=True)):
        block = f"{place}.blocks[{number}]"
        if source is None:
            yield Change(place=block, text=f"{mixer} block added", exact=True)
        elif before.mixers[source] != mixer:
            old = before.mixers[source]
            exact = not get_mixer(old).is_branch
            yield Change(place=block, text=f"{mixer} instead of {old}", exact=exact)
    for mixer in dict.fromkeys(
        mixer
        for source, mixer in zip(pairs, after.mixers, strict=True)
        if source is not None and before.mixers[source] == mixer and get_mixer(mixer).is_branch
    ):
        yield from _mixer_changes(place, mixer, before, after, sites=sites)


def _mixer_changes(
    place: str, mixer: str, before: Stage, after: Stage, *, sites: tuple[MixerSite, MixerSite]
) -> Iterator[Change]:
    if mixer == "attention" and before.heads != after.heads:
        text = f"{after.heads} instead of {before.heads}"
        yield Change(place=f"{place}.heads", text=text, exact=False)
    elif mixer == "mlp" and before.token_ratio != after.token_ratio:
        exact = after.token_ratio > before.token_ratio
        text = f"{after.token_ratio} instead of {before.token_ratio}"
        yield Change(place=f"{place}.token_ratio", text=text, exact=exact)
    elif mixer not in _GROWING and sites[0] != sites[1]:
        yield Change(place=place, text=f"{mixer} begun anew, at another width", exact=False)
    if after.shared and not before.shared and before.mixers.count(mixer) > 1:
        text = f"one {mixer} function instead of {before.mixers.count(mixer)}"
        yield Change(place=f"{place}.shared", text=text, exact=False)


@cache
def aligned(before: tuple[str, ...], after: tuple[str, ...]) -> tuple[int | None, ...]:
    """The old block of each new one of a stage, in order; None for a new block.

    As many blocks as possible are kept; among such choices, as many with equal mixers as possible;
    new ones are last then.
    """

    @cache
    def best(old: int, new: int) -> tuple[int, int, tuple[tuple[int, int], ...]]:
        # Pairs, those with equal mixers, and which, among the blocks from `old` and `new` on.
        if old == len(before) or new == len(after):
            return 0, 0, ()
        pairs, equal, which = best(old + 1, new + 1)
        both = (pairs + 1, equal + (before[old] == after[new]), ((old, new), *which))
        return max(both, best(old, new + 1), best(old + 1, new), key=lambda found: found[:2])

    found = {new: old for old, new in best(0, 0)[2]}
    return tuple(found.get(new) for new in range(len(after)))


def _stem(work: _Work, before: Architecture, after: Architecture, *, first: _Channels) -> State:
    state = work.produced("norm.", first)
    if before.stem != after.stem:
        return state
    old = _under(work.old, "stem.")
    if before.stem == "conv1":
        return state | work.produced("stem.", first)
    inner = work.channels(
        before.stem_width, after.stem_width, weights=old["conv2.weight"].square().sum((0, 2, 3))
    )
    for number in (1, 2, 3):
        weight = inner.produce(old[f"conv{number}.weight"])
        state[f"stem.conv{number}.weight"] = inner.consume(weight) if number > 1 else weight
        state |= work.produced(f"stem.bn{number}.", inner)
    state["stem.conv.weight"] = first.produce(inner.consume(old["conv.weight"]))
    state["stem.conv.bias"] = first.produce(old["conv.bias"])
    return state


def _downsample(work: _Work, prefix: str, before: _Channels, after: _Channels) -> State:
    weight = after.produce(before.consume(work.old[f"{prefix}conv.weight"]))
    return {f"{prefix}conv.weight": weight} | work.produced(f"{prefix}norm.", after)


def _stage(
    work: _Work,
    before: Architecture,
    after: Architecture,
    *,
    number: int,
    channels: _Channels,
) -> State:
    old, new = before.stages[number], after.stages[number]
    sites = _site(before, number), _site(after, number)
    state: State = {}
    for block, source in enumerate(aligned(old.mixers, new.mixers)):
        prefix, mixer = f"stages.{number}.blocks.{block}.", new.mixers[block]
        if source is None:
            state |= _identity(work.fresh, prefix)
            continue
        theirs = f"stages.{number}.blocks.{source}."
        for layer in ("dwconv.", "norm2."):
            state |= work.produced(prefix + layer, channels, old=theirs + layer)
        mlp = _under(work.old, f"{theirs}mlp.")
        mlp["fc1.weight"] = channels.consume(mlp["fc1.weight"])
        mlp |= {name: channels.produce(mlp[name]) for name in ("fc2.weight", "fc2.bias")}
        fresh = _under(work.fresh, f"{prefix}mlp.")
        state |= _prefixed(f"{prefix}mlp.", _hidden(mlp, fresh))
        if not get_mixer(mixer).is_branch:
            continue
        part = f"stages.{number}.shared.{mixer}." if new.shared else f"{prefix}mixer."
        kept = old.mixers[source] == mixer
        weights: State | None = None
        if kept:
            home = f"stages.{number}.shared.{mixer}." if old.shared else f"{theirs}mixer."
            weights = _mixer(
                work,
                mixer,
                old=_under(work.old, home),
                fresh=_under(work.fresh, part),
                sites=sites,
                channels=channels,
            )
        if weights is None:
            state[f"{prefix}gamma_1"] = torch.zeros_like(work.fresh[f"{prefix}gamma_1"])
            continue
        # Blocks that come to share one function share that of the first of them.
        state = _prefixed(part, weights) | state
        state |= work.produced(f"{prefix}norm1.", channels, old=f"{theirs}norm1.")
        state[f"{prefix}gamma_1"] = channels.produce(work.old[f"{theirs}gamma_1"])
    return state


def _identity(fresh: Mapping[str, Tensor], prefix: str) -> State:
    """A block that adds nothing yet, but learns to."""
    names = ("dwconv.weight", "dwconv.bias", "mlp.fc2.weight", "mlp.fc2.bias", "gamma_1")
    return {
        prefix + name: torch.zeros_like(fresh[prefix + name])
        for name in names
        if prefix + name in fresh
    }


def _mixer(
    work: _Work,
    mixer: str,
    *,
    old: State,
    fresh: State,
    sites: tuple[MixerSite, MixerSite],
    channels: _Channels,
) -> State | None:
    """The weights of a mixer function; None if it has to begin anew."""
    if mixer == "attention":
        return _attention(work, old, sites=sites, channels=channels)
    if mixer == "mlp":  # works on positions: the width does not matter
        return _hidden(old, fresh)
    return old if sites[0] == sites[1] else None


_GROWING = ("attention", "mlp")  # the mixers that `_mixer` knows how to widen


def _attention(
    work: _Work, old: State, *, sites: tuple[MixerSite, MixerSite], channels: _Channels
) -> State:
    before, after = sites
    heads = before.heads if before.heads == after.heads else 1
    D, wide = before.width // heads, after.width // heads
    weights = old["proj.weight"].square().sum(0).view(heads, D).sum(0)
    one = work.channels(D, wide, weights=weights)
    first = D * torch.arange(heads)
    inner = _Channels((first[:, None] + one.source).flatten(), one.share.repeat(heads))
    weight, bias = old["qkv.weight"].view(3, before.width, -1), old["qkv.bias"].view(3, -1)
    weight = inner.produce(channels.consume(weight, dim=2), dim=1)
    bias = inner.produce(bias, dim=1)
    # Products q k are divided by the root of the channels of a head, and sum over all copies.
    D, wide = before.width // before.heads, after.width // after.heads
    factor = (inner.share * (wide / D) ** 0.5).to(weight)
    weight[0] *= factor[:, None]
    bias[0] *= factor
    return {
        "qkv.weight": weight.flatten(0, 1),
        "qkv.bias": bias.flatten(),
        "proj.weight": channels.produce(inner.consume(old["proj.weight"])),
        "proj.bias": channels.produce(old["proj.bias"]),
    }


def _hidden(old: State, fresh: State) -> State:
    """Two layers with more hidden units, of no effect yet, or with the largest ones alone."""
    before, after = len(old["fc1.bias"]), len(fresh["fc1.bias"])
    if after < before:
        kept = _largest(old["fc2.weight"].square().sum(0), after)
        return {
            "fc1.weight": old["fc1.weight"][kept],
            "fc1.bias": old["fc1.bias"][kept],
            "fc2.weight": old["fc2.weight"][:, kept],
            "fc2.bias": old["fc2.bias"],
        }
    new = old["fc2.weight"].new_zeros(len(old["fc2.weight"]), after - before)
    return {
        "fc1.weight": torch.cat([old["fc1.weight"], fresh["fc1.weight"][before:].to(new)]),
        "fc1.bias": torch.cat([old["fc1.bias"], fresh["fc1.bias"][before:].to(new)]),
        "fc2.weight": torch.cat([old["fc2.weight"], new], dim=1),
        "fc2.bias": old["fc2.bias"],
    }


def _largest(weights: Tensor, count: int) -> Tensor:
    """Positions of the largest, in ascending order."""
    return weights.topk(count).indices.sort().values


def _site(architecture: Architecture, stage: int) -> MixerSite:
    own = architecture.stages[stage]
    return MixerSite(
        own.width, architecture.resolutions[stage], own.heads, own.token_ratio, own.options
    )


def _under(state: Mapping[str, Tensor], prefix: str) -> State:
    return {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }


def _prefixed(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}

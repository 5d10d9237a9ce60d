"""The registry of spatial mixers: what each costs and where its network lives, free of torch.

A mixer's class is named by a string and imported when a network is built, so that cost, search
spaces and reports start quickly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from spach_nas.errors import ArchitectureError, did_you_mean, one_of


class MixerSite(NamedTuple):
    """Where a mixer stands: everything that its cost may depend on.

    Attributes:
        width: Channels of the stage, C.
        resolution: Height and width of the feature map, (H, W).
        heads: Attention heads of the stage.
        token_ratio: Hidden over input width of a token-MLP.
    """

    width: int
    resolution: tuple[int, int]
    heads: int
    token_ratio: float

    @property
    def tokens(self) -> int:
        """Positions of the feature map, N = H * W."""
        return self.resolution[0] * self.resolution[1]


class MixerCost(NamedTuple):
    """Cost of the mixer function alone, without LayerNorm and gamma_1.

    Attributes:
        params: Parameters.
        macs: Multiply-accumulates per image.
        activations: Output elements of its convolutions and linear layers per image.
    """

    params: int
    macs: int
    activations: int


@dataclass(frozen=True, kw_only=True, slots=True)
class MixerSpec:
    """One spatial mixer.

    Attributes:
        name: As written in YAML.
        short: As drawn in `conv2+attn10`.
        cost: Closed-form cost at a site.
        module: `package.module:Class` of the torch module, `Class(site: MixerSite)`, which maps
            (B, H, W, C) to (B, H, W, C). None: the block's depthwise convolution is its only
            spatial mixing, without LayerNorm and gamma_1, and there is nothing to share.
        parameters: The fields of a stage that it reads besides the width, of `heads` and
            `token_ratio`; the others are inert.
        min_tokens: Fewest positions that it works on.
        fixed_resolution: Its weights depend on the number of positions.
    """

    name: str
    short: str
    cost: Callable[[MixerSite], MixerCost]
    module: str | None
    parameters: frozenset[str] = frozenset()
    min_tokens: int = 1
    fixed_resolution: bool = False

    @property
    def is_branch(self) -> bool:
        """Whether the block has LN1, the mixer function and gamma_1."""
        return self.module is not None


def _conv_cost(site: MixerSite) -> MixerCost:
    # Its only mixing is the depthwise convolution, which every block has.
    return MixerCost(0, 0, 0)


def _attention_cost(site: MixerSite) -> MixerCost:
    # qkv and output projections, then QK^T and AV: fvcore misses the last two in fused attention.
    C, N = site.width, site.tokens
    return MixerCost(4 * C * C + 4 * C, 4 * N * C * C + 2 * N * N * C, 4 * N * C)


def _mlp_cost(site: MixerSite) -> MixerCost:
    C, N = site.width, site.tokens
    T = int(site.token_ratio * N)
    return MixerCost(2 * N * T + T + N, 2 * N * T * C, (T + N) * C)


_REGISTRY: dict[str, MixerSpec] = {}


def register_mixer(spec: MixerSpec) -> None:
    """Make `spec` known by its name.

    Raises:
        ArchitectureError: The name is taken by another mixer.
    """
    if _REGISTRY.setdefault(spec.name, spec) != spec:
        raise ArchitectureError(f"mixer {spec.name!r} is registered already; choose another name")


def mixer_names() -> tuple[str, ...]:
    """Names of all registered mixers."""
    return tuple(_REGISTRY)


def get_mixer(name: str) -> MixerSpec:
    """The mixer called `name`.

    Raises:
        ArchitectureError: There is none.
    """
    try:
        return _REGISTRY[name]
    except (KeyError, TypeError):
        legal = mixer_names()
        raise ArchitectureError(
            f"unknown mixer {name!r}; expected {one_of(legal)}{did_you_mean(name, legal)}"
        ) from None


@lru_cache(maxsize=65536)
def mixer_cost(name: str, site: MixerSite) -> MixerCost:
    """Closed-form cost of one mixer function at `site`."""
    return get_mixer(name).cost(site)


register_mixer(MixerSpec(name="conv", short="conv", cost=_conv_cost, module=None))
register_mixer(
    MixerSpec(
        name="attention",
        short="attn",
        cost=_attention_cost,
        module="spach_nas.networks.mixers:Attention",
        parameters=frozenset({"heads"}),
    )
)
register_mixer(
    MixerSpec(
        name="mlp",
        short="mlp",
        cost=_mlp_cost,
        module="spach_nas.networks.mixers:TokenMlp",
        parameters=frozenset({"token_ratio"}),
        min_tokens=2,
        fixed_resolution=True,
    )
)

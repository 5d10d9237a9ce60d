"""The registry of spatial mixers: what each costs and where its network lives, free of torch.

A mixer's class is named by a string and imported when a network is built, so that cost, search
spaces and reports start quickly.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from spach_nas.errors import ArchitectureError, PluginError, did_you_mean, one_line, one_of
from spach_nas.registry import Registry

# Under bf16 autocast on a CPU, attention is written out up to this number of positions. With more,
# its weights would take too much memory for the time that this saves.
LARGEST_WRITTEN_OUT = 784
OptionValue = str | int | float | bool
# Names that stages and parameters of search spaces use already.
_TAKEN = frozenset(
    {
        *("image_size", "patch_size", "stem", "stem_width", "depth", "width", "mixers", "options"),
        *("leading", "trailing", "trailing_depth"),
        *("expansion_ratio", "token_ratio", "heads", "shared"),
    }
)
# Fields of its stage that a mixer may read besides the width.
_READABLE = frozenset({"heads", "token_ratio"})
_OPTION = re.compile(r"(?!block\d+$)[a-z][a-z0-9_]*")


class MixerSite(NamedTuple):
    """Where a mixer is used: everything that its cost may depend on.

    Attributes:
        width: Channels of the stage, C.
        resolution: Height and width of the feature map, (H, W).
        heads: Attention heads of the stage.
        token_ratio: Hidden over input width of a token-MLP.
        options: Options of the stage's mixers, as pairs of name and value; see `option`.
    """

    width: int
    resolution: tuple[int, int]
    heads: int
    token_ratio: float
    options: tuple[tuple[str, OptionValue], ...] = ()

    @property
    def tokens(self) -> int:
        """Positions of the feature map, N = H * W."""
        return self.resolution[0] * self.resolution[1]

    def option(self, name: str) -> OptionValue:
        """The value of an option that the mixer declares."""
        return dict(self.options)[name]


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
        name: Its name in YAML.
        short: Its name in `conv2+attn10`.
        cost: Closed-form cost at a site.
        module: `package.module:Class` of the torch module, `Class(site: MixerSite)`, which maps
            (B, H, W, C) to (B, H, W, C). None: the block's depthwise convolution is its only
            spatial mixing, without LayerNorm and gamma_1, and there is nothing to share.
        parameters: Which of `heads` and `token_ratio` it reads; the others have no effect.
        options: Legal values of each option that it adds to a stage, the default first. Mixers
            that declare the same name share its value, and must declare the same values.
        min_tokens: Smallest number of positions that it works on.
        fixed_resolution: Whether its weights depend on the number of positions.
        saved: Bytes per image that it keeps for the backward pass, from the site and the bytes of
            an element (4, or 2 under bf16 autocast), without its input and output, which the block
            counts. None: as many elements as the `activations` of its cost.
    """

    name: str
    short: str
    cost: Callable[[MixerSite], MixerCost]
    module: str | None
    parameters: frozenset[str] = frozenset()
    options: Mapping[str, tuple[OptionValue, ...]] = field(default_factory=dict)
    min_tokens: int = 1
    fixed_resolution: bool = False
    saved: Callable[[MixerSite, int], int] | None = None

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


def _attention_saved(site: MixerSite, item: int) -> int:
    C, N, heads = site.width, site.tokens, site.heads
    # q, k and v, and what leaves the attention, which is the projection's input.
    features = 4 * N * C * item
    if item == 4 or N > LARGEST_WRITTEN_OUT:
        # The fused kernel keeps the logarithm of each row's sum in fp32, and no N x N weights.
        return features + 4 * heads * N
    # One head's k and v are views, which hold on to the unscaled q.
    return features + heads * N * N * item + (N * C * item if heads == 1 else 0)


def _mlp_cost(site: MixerSite) -> MixerCost:
    C, N = site.width, site.tokens
    T = int(site.token_ratio * N)
    return MixerCost(2 * N * T + T + N, 2 * N * T * C, (T + N) * C)


def _mlp_saved(site: MixerSite, item: int) -> int:
    # What enters GELU, and what leaves it for the second layer.
    return 2 * int(site.token_ratio * site.tokens) * site.width * item


def home(spec: MixerSpec) -> str:
    """The module whose import registers a mixer: that of its cost function."""
    return getattr(spec.cost, "func", spec.cost).__module__  # `func` of a partial


def modules_of(spec: MixerSpec) -> set[str]:
    """The modules of a mixer's cost and of its network."""
    return {home(spec), (spec.module or "").partition(":")[0]} - {""}


MIXERS: Registry[MixerSpec] = Registry("mixer", error=ArchitectureError, homes=modules_of)


def register_mixer(spec: MixerSpec) -> None:
    """Make `spec` known by its name.

    Raises:
        ArchitectureError: Another mixer has the name, or an option or a parameter is not legal.
    """
    known = _known_options()
    for name, values in spec.options.items():
        if name in _TAKEN or not _OPTION.fullmatch(name):
            raise ArchitectureError(
                f"mixer {spec.name!r}: options: {name!r}; expected a name such as pool_size that "
                "nothing else has"
            )
        if not isinstance(values, tuple) or not values or len(set(values)) < len(values):
            raise ArchitectureError(
                f"mixer {spec.name!r}: options.{name}: {values!r}; expected a tuple of distinct "
                "legal values, the default first"
            )
        if known.get(name, values) != values:
            raise ArchitectureError(
                f"mixer {spec.name!r}: options.{name}: {values!r}; expected {known[name]!r}, as "
                "another mixer declares it, or another name"
            )
    unknown = sorted(spec.parameters - _READABLE)
    if unknown:
        raise ArchitectureError(
            f"mixer {spec.name!r}: parameters: {unknown[0]!r}; expected {one_of(sorted(_READABLE))}"
            f"{did_you_mean(unknown[0], _READABLE)}"
        )
    MIXERS.register(spec)


def mixer_names() -> tuple[str, ...]:
    """Names of all registered mixers.

    Raises:
        PluginError: An installed plugin cannot be imported.
    """
    return MIXERS.names()


def get_mixer(name: str) -> MixerSpec:
    """The mixer called `name`.

    Raises:
        ArchitectureError: There is no such mixer.
        PluginError: An installed plugin cannot be imported.
    """
    return MIXERS.find(name)


def plugin_mixers(names: Iterable[str]) -> tuple[MixerSpec, ...]:
    """The mixers of these names that do not come with this package."""
    return tuple(get_mixer(name) for name in dict.fromkeys(names) if name not in _BUILT_IN)


def _known_options() -> dict[str, tuple[OptionValue, ...]]:
    return {name: values for spec in MIXERS.values() for name, values in spec.options.items()}


def option_values() -> dict[str, tuple[OptionValue, ...]]:
    """The legal values of every option that a mixer declares, installed plugins included."""
    MIXERS.names()
    return _known_options()


def legal_option(name: str, value: object) -> OptionValue:
    """A value of an option as its mixers declare it: `3.0` is the 3 of `(3, 5)`.

    Raises:
        ArchitectureError: No mixer declares such an option, or such a value.
    """
    known = _known_options()
    if name not in known:
        known = option_values()
    if name not in known:
        expected = one_of(known) or "none, since no mixer declares any"
        raise ArchitectureError(
            f"options.{name}: unknown option; expected {expected}{did_you_mean(name, known)}"
        )
    for legal in known[name]:
        # In Python True equals 1; here it does not.
        if legal == value and isinstance(legal, bool) == isinstance(value, bool):
            return legal
    raise ArchitectureError(f"options.{name}: {value!r}; expected {one_of(map(str, known[name]))}")


def resolve_options(
    given: Mapping[str, object], mixers: Iterable[str]
) -> tuple[tuple[str, OptionValue], ...]:
    """The options that some mixers read, sorted by name, with defaults filled in.

    Args:
        given: Values by name; those that these mixers do not read are checked and dropped.
        mixers: Names of the mixers.

    Raises:
        ArchitectureError: An unknown option, or a value that is not legal; a line for each.
    """
    legal: dict[str, OptionValue] = {}
    mistakes = []
    for name, value in given.items():
        try:
            legal[name] = legal_option(name, value)
        except ArchitectureError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ArchitectureError("\n".join(mistakes))
    read = {
        name: values
        for mixer in dict.fromkeys(mixers)
        for name, values in get_mixer(mixer).options.items()
    }
    return tuple((name, legal.get(name, values[0])) for name, values in sorted(read.items()))


@lru_cache(maxsize=65536)
def mixer_cost(name: str, site: MixerSite) -> MixerCost:
    """Closed-form cost of one mixer function at `site`.

    Raises:
        PluginError: The cost function raises, or returns something other than counts.
    """
    spec = get_mixer(name)
    if name in _BUILT_IN:
        return spec.cost(site)
    return MixerCost(*_counts(spec, spec.cost, site, len(MixerCost._fields)))


def mixer_saved(spec: MixerSpec, site: MixerSite, item: int) -> int:
    """Bytes that a mixer keeps for the backward pass; see `MixerSpec.saved`.

    Args:
        spec: The mixer.
        site: Where it is used.
        item: Bytes of an element.

    Raises:
        PluginError: `spec.saved` raises, or returns something other than a count.
    """
    if spec.saved is None:
        return mixer_cost(spec.name, site).activations * item
    saved = spec.saved
    return _counts(spec, lambda site: (saved(site, item),), site, 1, what="saved")[0]


def _counts(
    spec: MixerSpec,
    function: Callable[[MixerSite], Iterable[int]],
    site: MixerSite,
    number: int,
    *,
    what: str = "cost",
) -> tuple[int, ...]:
    where = f"mixer {spec.name!r}: its {what} at width {site.width} and {site.resolution} positions"
    try:
        found = tuple(function(site))
    except Exception as problem:  # foreign code may raise anything
        raise PluginError(
            f"{where} raises {one_line(problem, named=True)}; expected whole numbers"
        ) from problem
    # Integers of NumPy are welcome, too.
    whole = all(hasattr(item, "__index__") and not isinstance(item, bool) for item in found)
    if len(found) != number or not whole or any(item < 0 for item in found):
        names = f" ({', '.join(MixerCost._fields)})" if number > 1 else ""
        raise PluginError(
            f"{where} gives {found!r}; expected {number} whole number{'s'[: number > 1]}"
            f"{names} from 0"
        )
    return tuple(int(item) for item in found)


register_mixer(MixerSpec(name="conv", short="conv", cost=_conv_cost, module=None))
register_mixer(
    MixerSpec(
        name="attention",
        short="attn",
        cost=_attention_cost,
        module="spach_nas.networks.mixer_modules:Attention",
        parameters=frozenset({"heads"}),
        saved=_attention_saved,
    )
)
register_mixer(
    MixerSpec(
        name="mlp",
        short="mlp",
        cost=_mlp_cost,
        module="spach_nas.networks.mixer_modules:TokenMlp",
        parameters=frozenset({"token_ratio"}),
        min_tokens=2,
        fixed_resolution=True,
        saved=_mlp_saved,
    )
)
_BUILT_IN = frozenset(MIXERS)

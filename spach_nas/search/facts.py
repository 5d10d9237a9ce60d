"""What is known of a search space within its limits before a search, as values."""

from dataclasses import dataclass

from spach_nas.search.sharing import Sharing
from spach_nas.space.stage_space import Encoding


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """How a figure is spread over architectures, plain counts.

    Attributes:
        low: Lowest.
        p5: A twentieth lies at or below it.
        median: Half lies at or below it.
        p95: All but a twentieth lies at or below it.
        high: Highest.
        ends_exact: Whether `low` and `high` are those of all architectures; else of a sample.
    """

    low: int
    p5: int
    median: int
    p95: int
    high: int
    ends_exact: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantity:
    """One figure of the targets.

    Attributes:
        name: `macs` or `params`.
        everywhere: Over the whole space.
        feasible: Over what the limits leave.
        edges: Of the bins, n + 1 of them; a value on an edge belongs to the bin above.
        shares_everywhere: Of each bin, in [0, 1]; n of them.
        shares_feasible: The same among the feasible.
    """

    name: str
    everywhere: Spread
    feasible: Spread
    edges: tuple[float, ...]
    shares_everywhere: tuple[float, ...]
    shares_feasible: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Binding:
    """One limit beside the others.

    Attributes:
        limit: `max_macs`, `min_params`, `proxy_limits.max_macs` ...
        value: The bound; nanoseconds for a latency.
        met_by_others: Architectures that meet all other limits; None where they were not counted.
        excluded: How many of these this limit alone excludes.
        binds_most: Whether no other limit excludes more.
    """

    limit: str
    value: int
    met_by_others: int | None
    excluded: int | None
    binds_most: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class StageShares:
    """Share of the blocks of a stage by mixer, in [0, 1], averaged over architectures."""

    everywhere: dict[str, float]
    feasible: dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperModel:
    """Where a model of the paper stands.

    Attributes:
        name: As in the paper.
        macs: Multiply-accumulates per image.
        params: Parameters.
        encoding: Its choices; None where it is outside of the space.
        outside: What the space does not offer; None where it is inside.
        violations: Limits that it breaks, on itself and its proxy; empty where it meets them.
        macs_rank: Share of the feasible architectures with at most its MACs, in [0, 1].
        params_rank: The same for parameters.
    """

    name: str
    macs: int
    params: int
    encoding: Encoding | None
    outside: str | None
    violations: tuple[str, ...]
    macs_rank: float
    params_rank: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Proxies:
    """What would be trained.

    Attributes:
        macs: Of the proxies of feasible targets.
        params: The same.
        sharing: How many targets share one; None where it cannot be said.
    """

    macs: Spread
    params: Spread
    sharing: Sharing | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SpaceReport:
    """All that is known of a space within limits before a search.

    Attributes:
        targets: Their channels and classes, and whose they are.
        limits: In words.
        architectures: Distinct ones.
        encodings: Of the samplers; several may give one architecture.
        feasible: Architectures inside the limits; None where there are too many to count.
        feasible_share: Of the architectures, in [0, 1]; from a sample where they are not counted.
        binding: Each limit that is set.
        sampled: Size of the samples behind spreads and shares; 0: everything was gone through.
        quantities: Spread of MACs and parameters.
        stages: Share of each mixer.
        paper: The paper's models.
        proxies: None for a space alone, without a search.
    """

    targets: str
    limits: str
    architectures: int
    encodings: int
    feasible: int | None
    feasible_share: float
    binding: tuple[Binding, ...]
    sampled: int
    quantities: tuple[Quantity, ...]
    stages: tuple[StageShares, ...]
    paper: tuple[PaperModel, ...]
    proxies: Proxies | None = None

"""Cost and latency of an encoding, as sums over its stages.

These are the cost of target and proxy, and the predicted latency of the target. The pieces of a
network are its frame (stem, downsampling and head) and the blocks of each stage. None of them
depends on the mixers of another stage, so a space has few different ones.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from spach_nas.cost.closed_form import Cost, cost, stage_cost
from spach_nas.cost.limits import Bound, Measure, ProxyLimits
from spach_nas.errors import ArchitectureError, SearchSpaceError
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.layouts import Mixers, PerBlock
from spach_nas.space.scaling import scale, scale_stage
from spach_nas.space.search_space import SearchSpace, contexts, stage_sizes
from spach_nas.space.stage_space import Encoding, StageSizes

_KEPT_FRAMES = 4096
_KEPT_BLOCKS = 65536
LATENCY = "latency"

Resolution = tuple[int, int]


class Latency(Protocol):
    """Predicted latency on one device in nanoseconds: a sum over the parts of a network."""

    def frame(self, architecture: Architecture) -> int:
        """Latency of everything except the blocks."""

    def blocks(self, stage: Stage, resolution: tuple[int, int]) -> int:
        """Latency of the blocks of a stage, which does not depend on their order."""

    def of(self, architecture: Architecture) -> int:
        """Latency of the whole network: the sum of its frame and the blocks of all its stages."""


class Frame(NamedTuple):
    """Everything about a network except depths and mixers.

    Attributes:
        skeleton: Any architecture with this frame.
        sizes: The fields of each stage except its mixers.
        resolutions: For each stage, that of the target and that of the proxy.
        costs: Cost of everything except the blocks, for each measure.
    """

    skeleton: Architecture
    sizes: tuple[StageSizes, ...]
    resolutions: tuple[tuple[Resolution, Resolution], ...]
    costs: tuple[int, ...]


class Measures:
    """The costs of a space's architectures to which some bounds apply.

    Attributes:
        space: The search space.
        names: The measures, in the order of the results.
        fixed: Parameters of the space except depths and mixers, also those without a choice.
    """

    def __init__(
        self,
        space: SearchSpace,
        bounds: Sequence[Bound],
        *,
        proxy: ProxyLimits | None,
        latency: Latency | None = None,
    ) -> None:
        self.space = space
        self.names: tuple[Measure, ...] = tuple(dict.fromkeys(bound.measure for bound in bounds))
        # Proxies are only computed if a bound applies to them; likewise latency below.
        self._proxy = proxy if any(name.of == "proxy_limits" for name in self.names) else None
        timed = any(name.field == LATENCY for name in self.names)
        assert latency is not None or not timed, "a limit on latency needs a table of them"
        self._latency = latency if timed else None
        self._first = next(contexts(space))
        self.fixed = tuple(self._first)
        # Depths and mixers that complete a frame; any will do.
        self._any_blocks = {name: values[0] for name, values in space.parameters.items()}
        self._frame = lru_cache(maxsize=_KEPT_FRAMES)(self._find_frame)
        self.blocks = lru_cache(maxsize=_KEPT_BLOCKS)(self._find_blocks)
        # For each stage, by the names that its layout uses: the parameter and its first choice.
        self._arranging = [
            {
                name: (f"stage{i}.{name}", choices[0])
                for name, choices in stage.mixers.parameters(stage.depth).items()
            }
            for i, stage in enumerate(space.stages, 1)
        ]

    def frame(self, encoding: Encoding) -> Frame:
        """The frame of an encoding: everything except depths and mixers."""
        return self._frame(tuple(encoding.get(name, self._first[name]) for name in self.fixed))

    def of(self, encoding: Encoding) -> tuple[int, ...]:
        """The costs of the architecture of a legal encoding, for each measure."""
        frame = self.frame(encoding)
        pieces = [frame.costs]
        for i, stage in enumerate(self.space.stages):
            own = {
                name: encoding.get(key, first) for name, (key, first) in self._arranging[i].items()
            }
            depth = int(encoding.get(f"stage{i + 1}.depth", stage.depth[0]))
            mixers = stage.mixers.arrange(own, depth)
            pieces.append(self.blocks(frame.sizes[i], frame.resolutions[i], mixers))
        return tuple(map(sum, zip(*pieces, strict=True)))

    def of_architecture(self, architecture: Architecture) -> tuple[int, ...]:
        """The costs of any architecture, for each measure.

        Raises:
            ArchitectureError: No network has the scaled sizes.
        """
        scaled = None
        if self._proxy is not None:
            scaled = cost(scale(architecture, self._proxy.rule, self._proxy.data))
        timed = self._latency.of(architecture) if self._latency else None
        return self._pick(cost(architecture), scaled, timed)

    def _find_frame(self, fixed: tuple[str | int | float | bool, ...]) -> Frame:
        values = dict(zip(self.fixed, fixed, strict=True))
        skeleton = self.space.decode({**self._any_blocks, **values})
        proxy = self._scaled(skeleton)
        resolutions = tuple(zip(skeleton.resolutions, proxy.resolutions, strict=True))
        return Frame(
            skeleton,
            tuple(stage_sizes(self.space, values)),
            resolutions,
            self._pick(
                _frame_cost(skeleton),
                _frame_cost(proxy) if self._proxy else None,
                self._latency.frame(skeleton) if self._latency else None,
            ),
        )

    def _scaled(self, skeleton: Architecture) -> Architecture:
        if self._proxy is None:
            return skeleton
        try:
            return scale(skeleton, self._proxy.rule, self._proxy.data)
        except ArchitectureError as error:
            raise SearchSpaceError(f"proxy: {skeleton} cannot be scaled: {error}") from None

    def _find_blocks(
        self, sizes: StageSizes, resolutions: tuple[Resolution, Resolution], mixers: Mixers
    ) -> tuple[int, ...]:
        if not self.names:  # no bounds: save the time to build the stage
            return ()
        stage = sizes.with_mixers(mixers)
        scaled = None
        if self._proxy is not None:
            scaled = stage_cost(scale_stage(stage, self._proxy.rule), resolutions[1])
        timed = self._latency.blocks(stage, resolutions[0]) if self._latency else None
        return self._pick(stage_cost(stage, resolutions[0]), scaled, timed)

    def _pick(self, target: Cost, proxy: Cost | None, latency: int | None) -> tuple[int, ...]:
        found: list[int] = []
        for measure in self.names:
            if measure.field == LATENCY:
                assert latency is not None
                found.append(latency)
            else:
                found.append(getattr(target if measure.of == "limits" else proxy, measure.field))
        return tuple(found)


def depends_on_runs(space: SearchSpace, proxy: ProxyLimits) -> bool:
    """Whether proxies with the same number of blocks for each mixer may differ in cost.

    Scaling rounds the length of each run of equal mixers. In a layout all blocks of one mixer are
    one run; free blocks form runs of any lengths.
    """
    free = any(
        isinstance(stage.mixers, PerBlock) and len(stage.mixers.choices) > 1
        for stage in space.stages
    )
    return free and proxy.rule.depth_scale < 1


def _frame_cost(architecture: Architecture) -> Cost:
    # Subtracted rather than summed, so that `cost` alone knows what a network consists of.
    total = cost(architecture)
    for stage, resolution in zip(architecture.stages, architecture.resolutions, strict=True):
        blocks = stage_cost(stage, resolution)
        total = Cost(*(whole - part for whole, part in zip(total, blocks, strict=True)))
    return total

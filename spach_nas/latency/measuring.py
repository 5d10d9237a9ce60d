"""Measures the table of a search, or finds the one that it has.

The time of every part is measured, and that of a few whole networks to check the sums. Parts and
networks are timed in turns, so that if the machine slows down, both become slower. Measured times
are kept, and measuring a table can continue where it stopped.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from scipy.stats import kendalltau

from spach_nas.config.search_settings import LatencySettings
from spach_nas.config.search_yaml import SearchConfig
from spach_nas.config.study_files import LATENCY_JSON, RECORDS_FILE
from spach_nas.cost.limits import Limits
from spach_nas.errors import LatencyError, SearchSpaceError, one_line
from spach_nas.feasible import FeasibleSet
from spach_nas.latency.front_latency import (
    FrontLatency,
    read_front_latency,
    write_front_latency,
)
from spach_nas.latency.latency_table import (
    Check,
    Conditions,
    LatencyTable,
    PredictedLatency,
    PredictionError,
    Timing,
    check_agrees,
    check_conditions,
    check_covers,
    check_times_timm,
    differences,
    read_table,
    write_table,
)
from spach_nas.latency.parts import Part, part_name, parts_of, space_parts
from spach_nas.latency.timing import cautions, conditions, time_network, time_part
from spach_nas.machine import now
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import REFERENCES, reference_target
from spach_nas.space.search_space import SearchSpace
from spach_nas.space.timm_reference import TimmModel

# Number of whole networks to fit a table on, and of held-out ones to measure its error.
_FITTED, _HELD_OUT = 6, 6
_PAPER_MODELS = 3
_SEED = 0
_WRITTEN_EVERY = 20  # times, so that little is lost when measuring is interrupted
# Called with the number of times taken, their total number, and the table so far.
Progress = Callable[[int, int, LatencyTable], None]
Say = Callable[[str], None]


class Network(NamedTuple):
    """A whole network to compare with the sum over its parts.

    Attributes:
        name: Name of the paper's model, or the `arch_id`.
        architecture: The architecture.
        fitted: Whether the scale is fitted on it; otherwise it is held out.
    """

    name: str
    architecture: Architecture
    fitted: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """The functions that take times; tests replace them.

    Attributes:
        part: Time of one part within a chain.
        network: Time of a whole network.
    """

    part: Callable[[Part, Conditions], Timing]
    network: Callable[[Architecture | TimmModel, Conditions], Timing]


THIS_DEVICE = Clock(part=time_part, network=time_network)


def search_latency(
    config: SearchConfig,
    *,
    folder: Path | None = None,
    say: Say | None = None,
    clock: Clock = THIS_DEVICE,
) -> PredictedLatency | None:
    """Predicts the latency of a search's targets; None if the search does not need it.

    Args:
        config: The search YAML.
        folder: Folder of the study to resume. A study only ever uses its own table.
        say: Receives a line to display when measuring begins and when it ends.
        clock: Takes the times.

    Raises:
        LatencyError: A table is missing, damaged, or does not fit the search.
        ConfigError: This machine lacks the device that the search requests.
    """
    if not config.wants_latency:
        return None
    settings = config.latency
    path: Path | None = settings.table
    if folder is not None and (folder / RECORDS_FILE).is_file():
        path = folder / LATENCY_JSON
        if not path.is_file():
            raise LatencyError(
                f"{path}: is missing; expected the table that the study began with: a study that "
                "began without one cannot resume with latency as an objective or limit"
            )
    if path is None:
        found = measure_for(
            config.space,
            config.paper_models,
            _here(settings),
            timm_models=config.timm_models,
            say=say,
            clock=clock,
        )
        return PredictedLatency(found, where="latency")
    found = read_table(path)
    check_covers(found, search_parts(config), where=str(path))
    check_agrees(found, settings, where=str(path))
    if path == settings.table:  # a study that was begun without them goes on without their times
        check_times_timm(found, config.timm_models, where=str(path))
    return PredictedLatency(found, where=str(path))


def measure_front(
    folder: Path,
    targets: Sequence[Architecture],
    table: LatencyTable,
    *,
    doing: Say = lambda _: None,
    clock: Clock = THIS_DEVICE,
) -> FrontLatency:
    """Time the networks of a front whole, as the parts of a study's table were timed.

    Each time is written to the folder at once, so that an interrupted measurement goes on. Where
    the table was measured on another device, or something prevents a measurement, it says so.

    Args:
        folder: Of the study.
        targets: The networks; those that have a time already keep it.
        table: Of the study.
        doing: Told what is done, in a few words.
        clock: Takes the times.
    """
    had = table.conditions
    known = read_front_latency(folder)
    found = FrontLatency(conditions=str(had), times={} if known is None else known.times)
    try:
        here = conditions(
            runtime=had.runtime,
            device=had.device,  # type: ignore[arg-type] # told if it is none
            batch_size=had.batch_size,
            threads=had.threads,
            precision=had.precision,
        )
        if differ := differences(table, here):
            raise LatencyError(f"the table was measured elsewhere: {differ}")
        wanted = {target.arch_id: target for target in targets}
        lacking = [target for arch_id, target in wanted.items() if arch_id not in found.times]
        for place, target in enumerate(lacking):
            doing(f"timing the front, {place + 1} of {len(lacking)}")
            times = {**found.times, target.arch_id: clock.network(target, had)}
            found = replace(found, times=times)
            write_front_latency(folder, found)
    # No runtime or device here, a network that it cannot run, too little memory: anything, and a
    # report without these times is better than none.
    except Exception as problem:
        found = replace(found, missing=one_line(problem))
    write_front_latency(folder, found)
    return found


def search_parts(config: SearchConfig) -> list[Part]:
    """Every part of the targets that a search may propose, and of its references."""
    shape = config.space.shape
    references = (reference_target(name, shape) for name in config.paper_models)
    found = dict.fromkeys(space_parts(config.space))
    return list(found | dict.fromkeys(part for item in references for part in parts_of(item)))


def measure_file(
    path: Path,
    space: SearchSpace,
    references: tuple[str, ...],
    where: Conditions,
    *,
    timm_models: Sequence[TimmModel] = (),
    say: Say | None = None,
    clock: Clock = THIS_DEVICE,
) -> LatencyTable:
    """Measure the table of a space into a file, or continue one that was interrupted.

    Raises:
        LatencyError: The file holds something else, or times under other conditions.
    """
    known = None
    if path.exists():
        known = read_table(path)
        check_conditions(known, where, where=str(path))

    def keep(done: int, total: int, table: LatencyTable) -> None:
        if done % _WRITTEN_EVERY == 0:
            write_table(path, table)

    table = measure_for(
        space,
        references,
        where,
        timm_models=timm_models,
        known=known,
        say=say,
        clock=clock,
        on_progress=keep,
    )
    write_table(path, table)
    return table


def measure_for(
    space: SearchSpace,
    references: tuple[str, ...],
    where: Conditions,
    *,
    timm_models: Sequence[TimmModel] = (),
    known: LatencyTable | None = None,
    say: Say | None = None,
    clock: Clock = THIS_DEVICE,
    on_progress: Progress | None = None,
) -> LatencyTable:
    """The table of a space and of references, checked against whole networks.

    Args:
        space: The space whose parts are measured.
        references: The paper's models whose parts are measured, too.
        where: Conditions, which this device must meet.
        timm_models: Models of timm, which are timed whole.
        known: A table with the same conditions to continue.
        say: Receives a line to display when measuring begins and when it ends.
        clock: Takes the times.
        on_progress: Called after each time.

    Raises:
        LatencyError: The runtime does not support a part.
    """
    own = [reference_target(name, space.shape) for name in references]
    parts = [*space_parts(space), *(part for item in own for part in parts_of(item))]
    if say is not None:
        say(f"latency: timing {len(set(parts))} parts of networks on {where}")
        for warning in cautions(where):
            say(f"latency: {warning}")
    table = measure_table(
        parts,
        check_networks(space, references),
        where,
        known=known,
        clock=clock,
        on_progress=on_progress,
    )
    for model in timm_models:
        if str(model) not in table.timm:
            timing = clock.network(model, where)
            table = replace(table, timm={**table.timm, str(model): timing})
    if say is not None and table.error is not None:
        say(f"latency: predictions are {table.error}")
    return table


def check_networks(space: SearchSpace, references: tuple[str, ...] = ()) -> list[Network]:
    """Architectures of a space to fit on, and held-out ones, which include paper models."""
    try:
        drawn = FeasibleSet(space, Limits()).samples(_FITTED + _HELD_OUT, _SEED)
    except SearchSpaceError:  # too many classes to hold
        drawn = [space.sample(_SEED + i) for i in range(_FITTED + _HELD_OUT)]
    targets = {name: reference_target(name, space.shape) for name in REFERENCES}
    inside = [name for name, target in targets.items() if space.contains(target)]
    # Paper models spread evenly over the list, so that they differ in size and mixers.
    step = max(1, len(inside) // _PAPER_MODELS)
    names = dict.fromkeys([*references, *inside[::step][:_PAPER_MODELS]])
    paper = {targets[name]: name for name in names}
    found = {item: Network(name, item, False) for item, name in paper.items()}
    for index, item in enumerate(drawn):
        found.setdefault(item, Network(item.arch_id, item, index < _FITTED))
    return list(found.values())


def table_conditions(settings: LatencySettings, given: LatencySettings) -> Conditions:
    """The conditions to measure under: those given, then those of the search, then defaults."""
    names = ("runtime", "device", "batch_size", "threads", "precision")
    chosen = {name: value for name in names if (value := getattr(given, name)) is not None}
    return _here(replace(settings, **chosen))


def _here(settings: LatencySettings) -> Conditions:
    return conditions(
        runtime=settings.runtime or "eager",
        device=settings.device or "auto",
        batch_size=settings.batch_size or 1,
        threads=settings.threads or 1,
        precision=settings.precision or "fp32",
    )


def measure_table(
    parts: Sequence[Part],
    networks: Sequence[Network],
    where: Conditions,
    *,
    known: LatencyTable | None = None,
    clock: Clock = THIS_DEVICE,
    on_progress: Progress | None = None,
) -> LatencyTable:
    """A table of these parts, checked against these networks.

    Args:
        parts: Parts of the networks whose latency will be predicted.
        networks: Networks to fit the scale on, and to measure the error with. Their parts are
            measured, too.
        where: Conditions, which this device must meet.
        known: A table with the same conditions to continue.
        clock: Takes the times.
        on_progress: Called after each time.

    Raises:
        LatencyError: The runtime does not support a part.
    """
    table = known or LatencyTable(conditions=where, measured_at=now())
    wanted = dict.fromkeys([*parts, *(part for item in networks for part in parts_of(item[1]))])
    lacking = [part for part in wanted if part_name(part) not in table.parts]
    checked = {check.name for check in table.checks}
    unchecked = [network for network in networks if network.name not in checked]
    total = len(wanted) + len(networks)
    done = total - len(lacking) - len(unchecked)
    for item in _in_turns(lacking, unchecked):
        if isinstance(item, Network):
            check = _check(item, clock.network(item.architecture, where))
            table = replace(table, checks=(*table.checks, check))
        else:
            timing = clock.part(item, where)
            table = replace(table, parts={**table.parts, part_name(item): timing})
        done += 1
        if on_progress is not None:
            on_progress(done, total, table)
    return judged(table, networks)


def judged(table: LatencyTable, networks: Sequence[Network]) -> LatencyTable:
    """The table with its scale and error, from the times of its parts and of whole networks."""
    measured = {check.name: check.measured for check in table.checks}
    checks = tuple(
        Check(
            name=item.name,
            drawing=str(item.architecture),
            measured=measured[item.name],
            sum=_sum(table, item.architecture),
            fitted=item.fitted,
        )
        for item in networks
    )
    # The median, so that one disturbed measurement does not shift all predictions.
    ratios = [check.measured / check.sum for check in checks if check.fitted]
    scale = statistics.median(ratios) if ratios else 1.0
    return replace(table, checks=checks, scale=scale, error=prediction_error(checks, scale))


def prediction_error(checks: Sequence[Check], scale: float) -> PredictionError | None:
    """The error over the networks that the scale was not fitted on; None if there are none."""
    held_out = [check for check in checks if not check.fitted]
    if not held_out:
        return None
    errors = [abs(scale * check.sum / check.measured - 1) for check in held_out]
    tau = None
    if len(held_out) > 1:
        found = kendalltau([c.sum for c in held_out], [c.measured for c in held_out]).statistic
        tau = float(found) if found == found else None  # NaN if all are equal
    return PredictionError(
        networks=len(held_out),
        median=statistics.median(errors),
        largest=max(errors),
        rank_correlation=tau,
    )


def _sum(table: LatencyTable, architecture: Architecture) -> float:
    counts = parts_of(architecture)
    return sum(count * table.parts[part_name(part)].median for part, count in counts.items())


def _check(network: Network, timing: Timing) -> Check:
    # The sum is computed when all parts have been measured.
    return Check(
        name=network.name,
        drawing=str(network.architecture),
        measured=timing.median,
        sum=0.0,
        fitted=network.fitted,
    )


def _in_turns(parts: Sequence[Part], networks: Sequence[Network]) -> Iterator[Part | Network]:
    """All parts, with the networks spread evenly among them."""
    for index, part in enumerate(parts):
        first, end = (len(networks) * at // len(parts) for at in (index, index + 1))
        yield from networks[first:end]
        yield part
    if not parts:
        yield from networks

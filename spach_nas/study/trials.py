"""The trials of a study: those that begin, and those that go on at the next rung."""

from collections import deque
from collections.abc import Callable, Collection
from pathlib import Path

from spach_nas.config.evaluation import EvaluationRequest
from spach_nas.config.search_yaml import SearchConfig
from spach_nas.samplers.feasible_sampler import SpaceExhausted
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import reference_target
from spach_nas.space.scaling import DataShape, scale
from spach_nas.space.stage_space import Encoding
from spach_nas.study.archive import Archive
from spach_nas.study.folder import checkpoint_file
from spach_nas.study.knowledge import Knowledge
from spach_nas.study.pending import Pending
from spach_nas.study.records import Record


class Trials:
    """Makes the requests of a study."""

    def __init__(
        self,
        config: SearchConfig,
        knowledge: Knowledge,
        *,
        archive: Archive,
        folder: Path,
        data: DataShape,
        seen: Collection[int],
        elapsed: Callable[[], float],
    ) -> None:
        """What the budget leaves to begin.

        Args:
            config: The search YAML.
            knowledge: What proposes, and numbers the trials.
            archive: Knows whose weights are kept.
            folder: Where they are.
            data: Channels and classes of the images.
            seen: Trials that have a record.
            elapsed: Seconds of the search.
        """
        self._config = config
        self._knowledge = knowledge
        self._archive = archive
        self._folder = folder
        self._data = data
        self._elapsed = elapsed
        first = knowledge.first
        self._references = deque(
            (number, name)
            for number, name in enumerate(config.references, first - len(config.references))
            if number not in seen
        )
        self._seen = seen
        # Not a queue of all numbers: the budget may be a billion.
        self._next, self._end = first, first + config.search.trials

    @property
    def left(self) -> bool:
        """Whether one may begin."""
        return bool(self._references) or self._number is not None

    @property
    def _number(self) -> int | None:
        """Of the next trial that is proposed; None: there is none."""
        while self._next < self._end and self._next in self._seen:
            self._next += 1
        return self._next if self._next < self._end else None

    def begin(self) -> Pending | None:
        """The next trial: the references first, then what the sampler proposes."""
        space, proposer = self._config.space, self._knowledge.proposer
        if self._references:
            place, name = self._references.popleft()
            target = reference_target(name, space.shape)
            encoding = space.encode(target) if space.contains(target) else None
            proposer.take(target)
            return self._pend(place, target, encoding=encoding, reference=name)
        number = self._number
        if number is None:
            return None
        try:
            encoding = proposer.propose(number - self._knowledge.first)
        except SpaceExhausted:
            self._end = self._next
            return None
        self._next = number + 1
        return self._pend(number, space.decode(encoding), encoding=encoding)

    def promote(self, record: Record) -> Pending:
        """The record's trial at the next rung, from where it stands."""
        rung = record.fidelity.rung + 1
        goes_on = record.fidelity in self._config.course(rung)
        held = self._archive.holds((record.proxy_id, record.fidelity.rung))
        return self._pend(
            record.trial,
            record.architecture,
            rung=rung,
            encoding=dict(record.encoding) if record.encoding is not None else None,
            reference=record.reference,
            known=record.known,
            parent=record if goes_on and held else None,
        )

    def _pend(
        self,
        trial: int,
        target: Architecture,
        *,
        encoding: Encoding | None,
        reference: str | None = None,
        rung: int = 0,
        known: int | None = None,
        parent: Record | None = None,
    ) -> Pending:
        config = self._config
        request = EvaluationRequest(
            trial=trial,
            architecture=target,
            proxy=scale(target, config.proxy_at(rung), self._data),
            fidelity=config.fidelities[rung],
            seed=config.training_seed,
            course=config.course(rung),
            parent=checkpoint_file(self._folder, (parent.proxy_id, parent.fidelity.rung))
            if parent
            else None,
        )
        return Pending(
            request=request,
            encoding=encoding,
            reference=reference,
            known=len(self._knowledge.records) if known is None else known,
            started=self._elapsed(),
            before=parent.curve if parent else (),
        )

"""All that a study has learned, and that follows from its records alone."""

from collections import defaultdict, deque
from collections.abc import Sequence

from spach_nas.config.evaluation import Evaluation
from spach_nas.config.search_yaml import SearchConfig
from spach_nas.feasible import Feasible
from spach_nas.study.folder import CheckpointKey
from spach_nas.study.ladder import Ladder
from spach_nas.study.pareto import GrowingFront
from spach_nas.study.proposals import Proposer
from spach_nas.study.records import Record


class Knowledge:
    """Takes records one by one: what they say about the front, the rungs and the next proposal.

    Trials are numbered: those of a warm start, then the references, then the proposals.

    Attributes:
        records: Everything finished, oldest first.
        front: Of the highest rung.
        ladder: Who stands on which rung.
        proposer: What is proposed next.
        scores: What came of a proxy at a rung, by the study's seed.
        first: Number of the first trial that is proposed here.
        doubtful: Of whom `needs` may say something else since it was asked; whoever asks it takes
            them out.
    """

    def __init__(self, config: SearchConfig, feasible: Feasible, *, warm: int) -> None:
        """Nothing yet.

        Args:
            config: The search YAML.
            feasible: What may be proposed.
            warm: Trials that come from an earlier study.
        """
        self.records: list[Record] = []
        self.front = GrowingFront(config.objective_list)
        self.ladder = Ladder(
            config.rungs, objectives=config.objective_list, trials=warm + config.search.trials
        )
        self.proposer = Proposer(config, feasible, warm=warm)
        self.scores: dict[CheckpointKey, Evaluation] = {}
        self.first = warm + len(config.references)
        self.doubtful: set[CheckpointKey] = set()
        self._seed = config.training_seed
        # Rungs from which the next one goes on; one of another image size begins afresh.
        self._continued = {
            fidelity.rung
            for fidelity in config.fidelities[:-1]
            if fidelity in config.course(fidelity.rung + 1)
        }
        self._trained: defaultdict[CheckpointKey, list[Record]] = defaultdict(list)

    def take(self, record: Record) -> None:
        """Learn from a record."""
        key = record.proxy_id, record.fidelity.rung
        self.records.append(record)
        self.front.add(record)
        for other in (record, *self.front.left, *self.ladder.add(record)):
            self.doubtful.add((other.proxy_id, other.fidelity.rung))
        if record.reference is None:
            number = record.trial - (self.first if record.origin is None else 0)
            self.proposer.learn(record, number=number)
        self._trained[key].append(record)
        if record.seed == self._seed:
            self.scores.setdefault(key, _as_evaluation(record))

    def replay(self, records: Sequence[Record]) -> None:
        """Come to the state in which an earlier run of the study was after these records."""
        firsts: dict[int, Record] = {}
        for record in records:
            firsts.setdefault(record.trial, record)
        proposed = [record for trial, record in firsts.items() if trial >= self.first]
        asked = deque(sorted(proposed, key=lambda record: (record.known, record.trial)))
        for count, record in enumerate(records):
            while asked and asked[0].known <= count:
                first = asked.popleft()
                self.proposer.repeat(first.trial - self.first, dict(first.encoding or {}))
            if record.trial < self.first:
                self.proposer.take(record.architecture)
            self.take(record)

    def needs(self, key: CheckpointKey) -> bool:
        """Whether the weights of a proxy after a rung are of use: for export, or to go on from."""
        _, rung = key
        return any(
            record in self.front or (rung in self._continued and self.ladder.may_go_on(record))
            for record in self._trained[key]
        )


def _as_evaluation(record: Record) -> Evaluation:
    last = record.curve[-1] if record.curve else None
    return Evaluation(
        state=record.state,
        scores={"accuracy": last.accuracy, "loss": last.loss} if last else {},
        curve=record.curve,
        validation_images=record.validation_images,
        reason=record.reason,
        remark=record.remark,
        machine=record.machine,
    )

"""Proposes architectures, and lets the sampler learn from their scores.

Scores of different rungs are never mixed: each rung has its own Optuna study in memory, and
proposals come from the highest rung with enough scores (as in BOHB, Falkner et al. 2018,
arXiv:1807.01774).
"""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from spach_nas.config.objectives import Objective
from spach_nas.config.sampler_registry import get_sampler
from spach_nas.config.search_yaml import SearchConfig
from spach_nas.feasible import Feasible
from spach_nas.samplers.factories import make_factory
from spach_nas.samplers.feasible_sampler import OPTUNA_DIRECTIONS, FeasibleSampler, distributions
from spach_nas.space.architecture import Architecture
from spach_nas.space.stage_space import Encoding
from spach_nas.study.records import Record


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    # A proposal without a record, and the rung from whose study it was made.
    rung: int
    trial: optuna.Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ahead:
    # The next proposal, based on what was known at the previous one.
    number: int
    trials: tuple[FrozenTrial, ...]
    made: Future[Encoding | None] | None


class Proposer:
    """A sampler and what it knows.

    Proposals are numbered from 0. What number n is follows from the seed, n, and what was asked and
    learned before, in that order.

    Attributes:
        first: Proposals that are given, in place of the sampler's first ones.
    """

    def __init__(self, config: SearchConfig, feasible: Feasible, *, warm: int = 0) -> None:
        """A proposer that has learned nothing.

        Args:
            config: The search YAML.
            feasible: The architectures that may be proposed.
            warm: Number of trials of a warm start, which replace uniform proposals.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        settings = config.search
        self._spec = get_sampler(settings.sampler)
        self._space = config.space
        self._feasible = feasible
        self._objectives = config.objective_list
        self._stand_ins = [config.stand_ins(rung) for rung in range(len(config.fidelities))]
        self._startup = settings.startup_trials
        self._sampler = FeasibleSampler(
            make_factory(settings, feasible=feasible, objectives=config.objective_list),
            feasible=feasible,
            startup=max(0, settings.startup_trials - warm),
            seed=settings.seed,
            remembers=self._spec.remembers,
        )
        self._distributions = distributions(config.space)
        self.models = [self._create_study() for _ in config.fidelities]
        self._complete = [0 for _ in config.fidelities]
        self._asked: dict[int, _Asked] = {}
        self._ahead: _Ahead | None = None
        self.first: tuple[Encoding, ...] = ()
        self._thread = ThreadPoolExecutor(max_workers=1) if self._spec.ahead else None

    def take(self, architecture: Architecture) -> None:
        """Never propose this architecture, since it is trained already."""
        # Others, such as some models of the paper, must not count towards an exhausted space.
        if self._space.contains(architecture) and self._feasible.allows(architecture):
            self._sampler.taken.add(architecture.arch_id)

    def propose(self, number: int) -> Encoding:
        """Proposal `number`.

        Raises:
            SpaceExhausted: Every feasible architecture has been proposed.
        """
        if number < len(self.first):
            self.repeat(number, self.first[number])
            return self.first[number]
        ahead = self._ahead
        if ahead is not None and ahead.number == number:
            self._sampler.proposed = (
                ahead.made.result() if ahead.made else self._make_ahead(number, ahead.trials)
            )
        encoding = self._ask(number)
        self._look_ahead(number + 1)
        if self._ahead is not None and self._thread is not None:
            made = self._thread.submit(self._make_ahead, number + 1, self._ahead.trials)
            self._ahead = _Ahead(number=number + 1, trials=self._ahead.trials, made=made)
        return encoding

    def repeat(self, number: int, encoding: Encoding) -> None:
        """Restore the state after `propose` returned this encoding."""
        self._sampler.given = encoding
        self.take(self._space.decode(encoding))
        self._ask(number)
        self._look_ahead(number + 1)

    def learn(self, record: Record, *, number: int) -> None:
        """Learn the outcome of a trial at a rung.

        Args:
            record: A record with an encoding.
            number: Number of the trial's proposal.
        """
        rung = record.fidelity.rung
        asked = self._asked.pop(number, None)
        complete = record.state == "complete"
        self._sampler.number = number
        if asked is not None and not (complete and asked.rung == rung):
            # It has no score at the rung from which it was proposed.
            self.models[asked.rung].tell(asked.trial, state=TrialState.FAIL)
        if not complete:
            return
        study = self.models[rung]
        if asked is not None and asked.rung == rung:
            trial = asked.trial
        else:
            self._sampler.given = dict(record.encoding or {})
            trial = study.ask(self._distributions)
        study.tell(trial, [self._value(record, item) for item in self._objectives])
        self._complete[rung] += 1

    def close(self) -> None:
        """Stop the thread that makes proposals in advance."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _value(self, record: Record, objective: Objective) -> float:
        """The figure of what stands for an objective at the record's rung, in its direction."""
        known = self._stand_ins[record.fidelity.rung][objective.name]
        figure = record.objectives[known.name]
        return figure if known.direction == objective.direction else -figure

    @property
    def _rung(self) -> int:
        """The highest rung with enough scores to learn from."""
        enough = [r for r, count in enumerate(self._complete) if count >= self._startup]
        return max(enough, default=0)

    def _ask(self, number: int) -> Encoding:
        rung = self._rung
        self._sampler.number = number
        trial = self.models[rung].ask(self._distributions)
        self._asked[number] = _Asked(rung=rung, trial=trial)
        return dict(trial.params)

    def _look_ahead(self, number: int) -> None:
        if not self._spec.ahead or number < self._startup:
            return
        trials = tuple(self.models[self._rung].get_trials(deepcopy=False))
        self._ahead = _Ahead(number=number, trials=trials, made=None)

    def _make_ahead(self, number: int, trials: tuple[FrozenTrial, ...]) -> Encoding | None:
        # In a separate study, because the other one keeps learning meanwhile.
        study = self._create_study()
        known = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.RUNNING)]
        study.add_trials(known)
        sampler = self._sampler.alike(number)
        study.sampler = optuna.samplers.RandomSampler(seed=0)
        study.ask()  # the trial to propose for
        return sampler.propose(study, study.get_trials(deepcopy=False)[-1])

    def _create_study(self) -> optuna.Study:
        return optuna.create_study(
            directions=[OPTUNA_DIRECTIONS[item.direction] for item in self._objectives],
            sampler=self._sampler,
        )

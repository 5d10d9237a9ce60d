"""Ray Tune's side of a search, without a cluster where none is needed."""

import pickle
from pathlib import Path

import pytest

from search_tools import evaluate, make_study
from spach_nas.engine.ray_runner import StudySearcher, ray_session
from spach_nas.errors import StudyError
from spach_nas.evaluation import EvaluationRequest
from spach_nas.records import Record
from spach_nas.search_settings import Resources


def request_of(suggested: object) -> EvaluationRequest:
    assert isinstance(suggested, dict)
    return suggested["request"]  # type: ignore[no-any-return]


def test_the_adapter_passes_on_what_the_study_says(tmp_path: Path) -> None:
    seen: list[Record] = []
    searcher = StudySearcher(make_study(tmp_path, search__trials=1), seen.append)
    request = request_of(searcher.suggest("a"))
    assert searcher.suggest("b") is None
    searcher.on_trial_result("a", {"evaluation": evaluate(request)})
    searcher.on_trial_complete("a", {})
    assert [record.arch_id for record in seen] == [request.architecture.arch_id]
    assert searcher.suggest("c") == StudySearcher.FINISHED


def test_a_lost_worker_is_asked_again(tmp_path: Path) -> None:
    seen: list[Record] = []
    searcher = StudySearcher(make_study(tmp_path, search__trials=1), seen.append)
    first = request_of(searcher.suggest("a"))
    searcher.on_trial_complete("a", error=True)
    assert seen == []
    assert request_of(searcher.suggest("b")) == first


def test_a_full_disk_stops_the_search_with_its_own_error(tmp_path: Path) -> None:
    # Tune would take the exception for a failed trial and go on.
    def full(record: Record) -> None:
        raise OSError(28, "No space left on device")

    study = make_study(tmp_path)
    searcher = StudySearcher(study, full)
    request = request_of(searcher.suggest("a"))
    searcher.on_trial_result("a", {"evaluation": evaluate(request)})
    searcher.on_trial_complete("a", {})
    assert isinstance(searcher.failure, OSError)
    assert searcher.suggest("b") == StudySearcher.FINISHED


def test_tune_may_pickle_its_searcher(tmp_path: Path) -> None:
    searcher = StudySearcher(make_study(tmp_path), print)
    assert isinstance(pickle.loads(pickle.dumps(searcher)), StudySearcher)


def test_an_address_without_a_cluster_is_told() -> None:
    with (
        pytest.raises(StudyError, match=r"resources\.address: nonsense.*expected `local`"),
        ray_session(Resources(address="nonsense")),
    ):
        pass

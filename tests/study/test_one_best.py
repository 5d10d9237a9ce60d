"""One best and one hypervolume, whoever asks: the search, its live view, its report, an export."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from search_tools import drive, evaluate, make_study
from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.config.training_settings import DataSettings
from spach_nas.cost.limits import Limits
from spach_nas.export.choice import pick_record
from spach_nas.feasible import FeasibleSet
from spach_nas.report import front_table
from spach_nas.report.comparison import group_studies, read_studies
from spach_nas.report.comparison_figures import growth_data
from spach_nas.report.study import study_facts, study_records, validation_images
from spach_nas.report.view import StudyFacts, study_view
from spach_nas.study.driver import StudyDriver
from spach_nas.study.folder import checkpoint_path
from spach_nas.study.hypervolume import hypervolume_data, study_corners
from spach_nas.study.pareto import front
from spach_nas.study.progress import Tally, outline

LOSS = {"loss": "min", "params": "min"}


def lossy(request: EvaluationRequest) -> Evaluation:
    """The more accurate a network is, the larger its loss."""
    found = evaluate(request)
    scores = {**found.scores, "loss": found.scores["accuracy"] * 2}
    curve = tuple(replace(epoch, loss=epoch.accuracy * 2) for epoch in found.curve)
    return replace(found, scores=scores, curve=curve, validation_images=1600)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyDriver:
    begun = make_study(tmp_path_factory.mktemp("loss"), objectives=LOSS)
    drive(begun, lossy)
    begun.close()
    return begun


def test_best_is_the_same_wherever_it_is_asked_for(study: StudyDriver) -> None:
    best = min(study.records, key=lambda r: (r.objectives["loss"], r.target_cost.params, r.trial))
    accurate = max(study.records, key=lambda r: r.curve[-1].accuracy)
    assert best.trial != accurate.trial
    assert study.best() == best
    assert pick_record(tuple(study.records), "best", config=study.config) == best
    facts = StudyFacts(name="", objectives=study.objectives)
    assert "best" in study_view(study.records, facts).marks[best.trial]
    tally = Tally(outline(study.config, study.folder))
    for record in study.records:
        tally.add(record)
    assert "best" in tally.progress(running={}, elapsed=0.0).marks[best.trial]


def test_the_weights_of_best_and_knee_are_kept(study: StudyDriver) -> None:
    for pick in ("best", "knee"):
        record = pick_record(tuple(study.records), pick, config=study.config)
        assert checkpoint_path(study.folder, record).is_file()
        assert record in front(study.records, study.objectives)


def test_the_table_of_a_terminal_shows_every_score_and_how_sure_it_is(study: StudyDriver) -> None:
    console = Console(file=io.StringIO(), width=140)
    console.print(
        front_table(study_view(study.records, StudyFacts(name="", objectives=study.objectives)))
    )
    text = console.file.getvalue()  # type: ignore[attr-defined]
    best = study.best()
    assert best is not None
    line = next(line for line in text.splitlines() if "best" in line)
    assert f"{best.objectives['loss']:.4g}" in line
    assert "\N{PLUS-MINUS SIGN}" in line
    heads = text.splitlines()[2]
    assert heads.index("loss") < heads.index("accuracy")


def test_records_carry_the_number_of_their_validation_images(study: StudyDriver) -> None:
    assert {record.validation_images for record in study.records} == {1600}
    assert study_records(study.folder) == tuple(study.records)
    header, *rows = (study.folder / "trials.csv").read_text().splitlines()
    names = header.split(",")
    first = dict(zip(names, rows[0].split(","), strict=True))
    assert first["validation_images"] == "1600"
    low, middle, high = (float(first[f"accuracy{end}"]) for end in ("_low", "", "_high"))
    assert low < middle < high
    stages = study.records[0].architecture.stages
    assert first["width"] == " ".join(str(stage.width) for stage in stages)
    assert first["stem"] == study.records[0].architecture.stem


def test_the_hypervolume_never_goes_down_and_is_the_same_in_every_view(tmp_path: Path) -> None:
    studies = []
    for seed in (3, 4):
        (tmp_path / str(seed)).mkdir()
        studies.append(make_study(tmp_path / str(seed), search__seed=seed))
        drive(studies[-1])
        studies[-1].close()
    one = studies[0]
    tally, seen = Tally(outline(one.config, one.folder)), [0.0]
    for record in one.records:
        tally.add(record)
        data = tally.progress(running={}, elapsed=0.0).hypervolume
        assert data is not None
        assert data.shares[:-1] == tuple(seen), "what was told stays"
        seen.append(data.shares[-1])
    assert seen == sorted(seen)
    facts = study_facts(one.folder)
    report = hypervolume_data(
        one.records, facts.objectives, limits=facts.limits, corners=facts.corners
    )
    assert report is not None
    assert report.shares == tuple(seen)
    compared = growth_data(group_studies(read_studies([study.folder for study in studies])))
    assert compared is not None
    assert compared.fixed
    assert compared.curves[0].data.shares == tuple(seen)


def test_the_box_is_that_of_guessing_and_of_what_may_be_had(study: StudyDriver) -> None:
    config = replace(study.config, objectives={"accuracy": "max", "macs": "min", "params": "min"})
    limits = Limits(max_macs=1_200_000, min_macs=1000)
    corners = study_corners(replace(config, limits=limits), classes=4)
    assert corners["accuracy"] == (0.25, 1.0)
    assert corners["macs"] == (1_200_000, 1000)
    # No limit: the dearest of the space, so that as a limit it excludes nothing, and barely.
    dearest, least = corners["params"]
    assert least == 0
    size = config.space.size()
    counts = [
        FeasibleSet(config.space, Limits(max_params=round(dearest) - less)).count for less in (0, 1)
    ]
    assert counts[0] == size > (counts[1] or 0)
    assert study_corners(study.config, classes=10)["loss"] == (pytest.approx(2.302585), 0.0)
    assert "loss" not in study_corners(study.config, classes=None)


@pytest.mark.parametrize(
    ("name", "share", "images"),
    [("fashion-mini", 0.2, 1600), ("fashion-mnist", 0.1, 6000), ("folder", 0.2, None)],
)
def test_older_studies_of_known_sets_know_their_validation_images(
    name: str, share: float, images: int | None
) -> None:
    assert validation_images(DataSettings(name=name, validation=share)) == images

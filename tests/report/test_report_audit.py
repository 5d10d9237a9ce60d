"""The report of a study that has an audit says how far its scores can be trusted."""

from dataclasses import replace
from pathlib import Path

from search_tools import write_search
from spach_nas.config.search_yaml import source_files
from spach_nas.report.audit_figure import audit_section
from spach_nas.report.page import SECTIONS
from spach_nas.report.study import study_facts
from spach_nas.report.view import StudyFacts, study_view
from spach_nas.study.audit_rows import AuditRow, Estimate, read_audit, verdict, write_audit
from spach_nas.study.folder import create_folder
from study_factory import make_study


def row(name: str, tau: float, within: float, *, looks: bool = True) -> AuditRow:
    one, other = (
        Estimate(figure=tau, low=tau - 0.125, high=tau + 0.25),
        Estimate(figure=within, low=within - 0.25, high=within + 0.125),
    )
    return AuditRow(
        name=name,
        architectures=41,
        tau=one,
        within=other,
        rho=one,
        rho_within=other,
        gain=one,
        gain_within=other,
        seconds=None if name == "macs" else 0.5,
        bias={"conv": one},
        looks=looks,
    )


ROWS = (
    row("macs", 0.5, 0.125, looks=False),
    row("training_free:naswot", -0.125, 0.375),
    replace(row("<b>own", 0.75, 0.0), bias={}),
)


def test_each_score_has_a_dot_and_an_interval_over_all_and_within_bands() -> None:
    section = audit_section(study_view(make_study(3), StudyFacts(name="a", audit=ROWS)))
    (figure,) = section.figures.values()
    over_all, within = figure.data
    names = [figure.layout.yaxis.ticktext[round(place)] for place in over_all.y]
    # The best at the top; a name is no mark-up.
    assert names == ["naswot", "target macs", "&lt;b&gt;own"]
    assert list(over_all.x) == [-0.125, 0.5, 0.75] and list(within.x) == [0.375, 0.125, 0.0]
    assert [round(place) for place in within.y] == [0, 1, 2]
    assert set(over_all.error_x.array) == {0.25} and set(over_all.error_x.arrayminus) == {0.125}
    assert set(within.error_x.array) == {0.125} and set(within.error_x.arrayminus) == {0.25}
    assert verdict(ROWS) in section.note and "Use training_free:naswot" in section.note


def test_a_study_without_an_audit_has_no_such_section(tmp_path: Path) -> None:
    assert audit_section in SECTIONS
    (tmp_path / "audit.csv").write_text("something,else\n1,2\n")
    found = read_audit(tmp_path / "audit.csv")
    assert found == read_audit(tmp_path / "none.csv") == ()
    assert audit_section(study_view((), StudyFacts(name="a", audit=found))).hidden


def test_an_audit_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_audit(ROWS, tmp_path / "audit.csv")
    found = read_audit(tmp_path / "audit.csv")
    assert found == ROWS
    assert verdict(found) == verdict(ROWS)


def test_an_audit_next_to_the_yaml_goes_into_the_study(tmp_path: Path) -> None:
    path = write_search(tmp_path)
    write_audit(ROWS, tmp_path / "audit.csv")
    create_folder(tmp_path / "study", texts=source_files(path))
    assert study_facts(tmp_path / "study").audit == ROWS

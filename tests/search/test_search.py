"""The whole way, as a user goes it: search, report, export, load."""

import json
import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

import spach_nas
from conftest import Finished, run_main
from search_tools import write_search
from spach_nas.config.search_yaml import load_config
from spach_nas.config.study_files import SEARCH_YAML
from spach_nas.config.training_settings import DataSettings
from spach_nas.data import load_test
from spach_nas.evaluators.heartbeat import read_pulse
from spach_nas.space.architecture import Architecture
from spach_nas.study.journal import read_journal
from spach_nas.study.records import Record, read_records


@pytest.fixture(scope="module")
def records(finished_search: Finished) -> tuple[Record, ...]:
    return read_records(finished_search.folder)


def test_a_search_writes_everything_that_it_promises(finished_search: Finished) -> None:
    names = {path.name for path in finished_search.folder.iterdir()}
    assert names == {
        ".lock",
        "best",
        "checkpoints",
        "data.json",
        "log.jsonl",
        "records.jsonl",
        "report.html",
        "search.yaml",
        "study.db",
        "trials.csv",
    }
    kept = (finished_search.folder / SEARCH_YAML).read_text()
    assert kept == finished_search.yaml.read_text()


def test_every_trial_was_trained(records: tuple[Record, ...]) -> None:
    assert [record.trial for record in sorted(records, key=lambda r: r.trial)] == list(range(6))
    assert {record.state for record in records} == {"complete"}
    for record in records:
        assert 0 < record.objectives["accuracy"] <= 1
        assert record.objectives["accuracy"] == record.curve[-1].accuracy
        assert record.target_cost.macs <= 1_200_000
        assert len(record.curve) == 1
        assert record.seconds > 0


def test_plain_lines_tell_each_trial_and_the_next_commands(finished_search: Finished) -> None:
    lines = finished_search.output.splitlines()
    told = (
        r".*small\.yaml: checking \.\.\.",
        r"reading the images of fashion-mini \.\.\.",
        r"timing a few training steps \.\.\.",
        r"6 trainings, .* on \w+: about .*, until about .*",
        r"small: 6 trials into .*",
        r"starting Ray \.\.\.",
        r"starting workers \.\.\.",
        *[rf"\[{number}/6\] .*" for number in range(1, 7)],
        r"writing the report and the best network \.\.\.",
        r"6 of 6 trials are done\. It took .*, estimated .*\.",
        r"Pareto front, .*",
    )
    rest = iter(lines)
    for line in told:  # in this order; how far a training is may stand between
        assert any(re.fullmatch(line, other) for other in rest), line


def test_workers_tell_how_far_they_are(finished_search: Finished) -> None:
    lines = [line for line in read_journal(finished_search.folder) if line["event"] == "progress"]
    assert lines and {line["trial"] for line in lines} <= set(range(6))
    assert all(read_pulse(line) is not None for line in lines)
    assert (
        f"spach-nas export {finished_search.folder.relative_to(finished_search.yaml.parent)}"
        in (finished_search.output)
    )


def test_the_front_member_loads_in_three_ways_with_equal_outputs(
    finished_search: Finished,
) -> None:
    best = finished_search.folder / "best"
    assert {"architecture.yaml", "config.json", "model.safetensors", "parity.json"} <= {
        path.name for path in best.iterdir()
    }
    ours = spach_nas.load_model(best)
    theirs = timm.create_model(f"local-dir:{best}", pretrained=True).eval()
    by_hand = spach_nas.build(Architecture.from_yaml(best / "architecture.yaml")).eval()
    by_hand.load_state_dict(load_file(best / "model.safetensors"))
    images = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = ours(images)
        assert expected.std() > 0, "a fresh head would give zeros"
        assert torch.equal(theirs(images), expected)
        assert torch.equal(by_hand(images), expected)


def test_the_exported_network_scores_as_the_record_says(
    finished_search: Finished, records: tuple[Record, ...]
) -> None:
    # Prepared by hand from what config.json says, not by the code that trained it.
    best = max(records, key=lambda record: record.objectives["accuracy"])
    folder = finished_search.folder / "best"
    config = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    test = load_test(DataSettings(name="fashion-mini"), image_size=(28, 28))
    images = torch.from_numpy(test.images.copy()).permute(0, 3, 1, 2).float() / 255
    images = torch.nn.functional.pad(
        (images - config["mean"][0]) / config["std"][0],
        (2, 2, 2, 2),
        value=-config["mean"][0] / config["std"][0],
    )
    with torch.inference_mode():
        logits = spach_nas.load_model(folder)(images)
    accuracy = (logits.argmax(1) == torch.from_numpy(test.labels)).double().mean().item()
    assert f"| test accuracy | {accuracy:.4f} |" in (folder / "README.md").read_text()
    assert abs(accuracy - best.objectives["accuracy"]) < 0.1


def test_a_study_is_never_overwritten(
    finished_search: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished_search.yaml.parent)
    before = {path: path.stat().st_mtime_ns for path in finished_search.folder.rglob("*")}
    code, [line] = run_main("search", str(finished_search.yaml))
    assert code == 2
    assert "exists already" in line
    assert {p: p.stat().st_mtime_ns for p in finished_search.folder.rglob("*")} == before


def test_the_report_is_built_again_from_the_records(
    finished_search: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    page = finished_search.folder / "report.html"
    page.unlink()
    assert run_main("report", str(finished_search.folder)) == (0, [])
    assert capsys.readouterr().out.strip() == str(page)
    assert page.stat().st_size > 1_000_000


def test_limits_that_nothing_meets_stop_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_search(tmp_path, limits={"max_macs": "1k"})
    code, lines = run_main("search", str(path))
    assert code == 2
    assert lines[0].startswith(f"{path}: limits: no architecture of the space meets them")
    assert list(tmp_path.iterdir()) == [path]


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_search(tmp_path)
    assert run_main("search", str(path), "--dry-run") == (0, [])
    count = load_config(path).space.size()
    assert f"{count:,} architectures" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [path]

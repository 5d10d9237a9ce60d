import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import run_main
from search_tools import SPACE, write_search
from spach_nas.cost.memory import saved_bytes
from spach_nas.space.references import REFERENCES


def test_cost_prints_plain_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("cost", "hybrid_ms_s_plus", "--json") == (0, [])
    figures = json.loads(capsys.readouterr().out)
    assert (figures["params"], figures["macs"]) == (63_138_728, 12_177_284_096)
    assert figures["macs_with_norms"] == 12_210_450_432
    architecture = REFERENCES["hybrid_ms_s_plus"].architecture
    assert figures["saved_bytes"] == saved_bytes(architecture)
    assert figures["saved_bytes_bf16"] == saved_bytes(architecture, precision="bf16")


def test_cost_reads_an_architecture_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(REFERENCES["conv_ms_xxs"].architecture.to_yaml())
    assert run_main("cost", str(path), "--json") == (0, [])
    assert json.loads(capsys.readouterr().out)["params"] == 5_085_224


def test_references_lists_every_model_with_its_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("references") == (0, [])
    shown = capsys.readouterr().out
    assert all(name in shown for name in REFERENCES)


def test_doctor_names_versions_devices_and_threads(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("doctor") == (0, [])
    shown = capsys.readouterr().out
    for word in ("spach-nas", "torch", "ray", "optuna", "device", "cores", "eager, compile, onnx"):
        assert word in shown


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['spach-nas', '--help']\n"
        "from spach_nas.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'ray', 'optuna', 'plotly', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "is not YAML"),
        ("", "expected a mapping of keys to values"),
        ("study: x", "space: is missing"),
    ],
)
def test_a_file_that_is_no_search_is_told(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    assert_refused(path, message)


BAD: list[tuple[dict[str, object], str]] = [
    ({"serach": {"trials": 3}}, "serach: unknown key; expected"),
    (
        {"search__trails": 3},
        "search.trails: unknown key; expected max_duration, sampler, sampler_options",
    ),
    ({"limits__max_macs": "12 parsecs"}, "limits.max_macs: '12 parsecs'; expected a count such as"),
    ({"search__max_duration": "5 eons"}, "search.max_duration: '5 eons'; expected a duration"),
    ({"training__epochs": "many"}, "training.epochs: 'many'; expected a whole number"),
    ({"space": {**SPACE, "stem": []}}, "space.stem: is an empty choice"),
    ({"space": {**SPACE, "heads": 3}}, "stages[0].width: 8 with 3 heads; expected a multiple of 3"),
    ({"space": {**SPACE, "image_size": 36}}, "image_size: 36 with patch_size 4 and 2 stages"),
    ({"proxy__image_size": 30}, "proxy.image_size: 30 with patch_size 8 and 2 stages"),
    ({"data__name": "fashion"}, "unknown data set 'fashion'; expected"),
    ({"data": {"name": "folder", "root": "nowhere"}}, "nowhere"),
    ({"space": "spach_mss"}, "space: spach_mss: no such file; expected"),
    ({"references": ["hybrid_ms_s_plus"]}, "is a model for 224 px; expected one for 32 px"),
    ({"limits": {"max_macs": 1, "min_macs": 2}}, "min_macs: 2 is above max_macs: 1"),
    ({"objectives": {"accuracy": "min"}}, "objectives.accuracy: min; expected max"),
    ({"study": "../x"}, "study: '../x'; expected letters"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_every_mistake_is_told_in_a_line(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    assert_refused(write_search(tmp_path, **changes), message)


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    changes = {key: value for key, value in BAD[1][0].items()} | BAD[2][0] | BAD[4][0]
    code, lines = run_main("search", str(write_search(tmp_path, **changes)))
    assert (code, len(lines)) == (2, 3)


def test_a_missing_file_is_told_with_the_shipped_ones() -> None:
    code, lines = run_main("search", "quikstart", "--dry-run")
    assert code == 2
    assert "did you mean 'quickstart'?" in lines[0]


def test_nothing_from_a_file_is_executed(tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    marker = tmp_path / "executed"
    path.write_text(f"study: !!python/object/apply:os.system ['touch {marker}']")
    assert_refused(path, "is not YAML")
    assert not marker.exists()


def assert_refused(path: Path, message: str) -> None:
    before = set(path.parent.iterdir())
    code, lines = run_main("search", str(path), "--out", str(path.parent / "study"))
    assert code == 2, lines
    assert any(message in line for line in lines), lines
    assert all(re.match(rf"{re.escape(str(path))}(:\d+)?: ", line) for line in lines), lines
    assert set(path.parent.iterdir()) == before, "nothing is left half-written"

"""A mistake is told before any library that takes seconds to import."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from search_tools import evaluate, make_study, write_search
from spach_nas.errors import ConfigError
from spach_nas.search.plan import plan_search
from spach_nas.space.mixers import mixer_names
from spach_nas.space.references import REFERENCES

HEAVY = (
    *("torch", "torchvision", "timm", "ray", "optuna", "plotly", "pandas", "fvcore"),
    *("sqlalchemy", "scipy", "sklearn", "onnx", "onnxruntime", "safetensors", "matplotlib"),
)
# All commands in one process: what any of them imports is held against it, and it starts once.
SCRIPT = """
import contextlib, io, json, sys
from unittest import mock
from spach_nas.cli import main

HEAVY = set(json.loads(sys.argv[1]))
found = []
for arguments in json.loads(sys.argv[2]):
    before, told = set(sys.modules), io.StringIO()
    code = 0
    with mock.patch.object(sys, "argv", ["spach-nas", *arguments]):
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
            try:
                main()
            except SystemExit as end:
                code = end.code
    heavy = sorted(HEAVY & (set(sys.modules) - before))
    found.append([code, told.getvalue(), heavy])
print(json.dumps(found))
"""
# By name: the command, and what is told. {} is a folder with the files below.
MISTAKES: dict[str, tuple[str, str]] = {
    "search: key": ("search {}/key.yaml", "serach: unknown key"),
    "search: value": ("search {}/value.yaml", "training.epochs: 'many'; expected a whole number"),
    "search: no file": ("search quikstart", "did you mean 'quickstart'?"),
    "search: space": ("search {}/space.yaml", "no such file"),
    "search: mixer": ("search {}/mixer.yaml", "did you mean 'attention'?"),
    "search: reference": ("search {}/reference.yaml", "unknown model 'conv_ms_q'"),
    "search: sampler": ("search {}/sampler.yaml", "did you mean 'nsga2'?"),
    "search: sampler of Optuna": ("search {}/optuna.yaml", "such as NSGAIIISampler"),
    "search: callback": ("search {}/callback.yaml", "did you mean 'wandb'?"),
    "search: data": ("search {}/data.yaml", "nowhere: is not a folder"),
    "search: limits": ("search {}/limits.yaml", "max_macs"),
    "search: warm start": ("search {}/warm.yaml --dry-run", "search.warm_start: nowhere: is no"),
    "search: latency table": ("search {}/latency.yaml", "nowhere.json"),
    "search: folder": ("search {}/good.yaml --out {}/study", "exists already"),
    "search: other study": ("search {}/good.yaml --out {}/study --resume", "search.seed: was"),
    "search: resume nothing": ("search {}/good.yaml --out {} --resume", "is no study"),
    "search: flag": ("search {}/good.yaml --dryrun", "--dry-run"),
    "search: plugin": ("search {}/good.yaml --plugin no_such_module", "no_such_module"),
    "space: key": ("space {}/key.yaml", "serach: unknown key"),
    "space: no file": ("space quikstart", "did you mean 'quickstart'?"),
    "space: bare": ("space {}/bare.yaml", "depht: unknown key"),
    "train: source": ("train conv_ms_q --data fashion-mini", "did you mean 'conv_ms_"),
    "train: data": ("train conv_ms_xxs --data fashion-mni", "did you mean 'fashion-mini'?"),
    "train: folder": ("train conv_ms_xxs --data {}/study", "class folders"),
    "train: recipe": ("train conv_ms_xxs --data fashion-mini --recipe shrt", "'short'?"),
    "train: key": ("train conv_ms_xxs --data fashion-mini --set epoch=3", "epoch: unknown key"),
    "train: value": ("train conv_ms_xxs --data fashion-mini --set epochs=no", "whole number"),
    "train: init": ("train conv_ms_xxs --data fashion-mini --init nowhere", "is not a folder"),
    "train: out": ("train conv_ms_xxs --data fashion-mini --out {}", "exists already"),
    "train: resume": ("train conv_ms_xxs --data fashion-mini --out {} --resume", "run.json"),
    "export: source": ("export conv_ms_q --out {}/new", "did you mean 'conv_ms_"),
    "export: folder": ("export {} --out {}/new", "expected the folder of a study"),
    "export: out": ("export conv_ms_xxs --out {}", "exists already"),
    "export: pick": ("export {}/study --pick bets --out {}/new", "did you mean 'best'?"),
    "export: trial": ("export {}/study --pick 77 --out {}/new", "no such trial"),
    "export: formats": ("export conv_ms_xxs --out {}/new --formats onxn", "did you mean 'onnx'?"),
    "export: top": ("export {}/study --out {}/new --top 99", "the front has"),
    "export: scale": ("export {}/study --out {}/new --scale tiny", "tiny"),
    "verify: no bundle": ("verify {}", "manifest.json"),
    "report: no study": ("report {}", "expected the folder of a study"),
    "report: several": ("report {} {}/study", "expected the folder of a study"),
    "report: baseline": ("report {}/study --baseline {}", "expected the folder of a study"),
    "report: static": ("report {}/study --static gif", "gif"),
    "watch: no study": ("watch {}", "expected the folder of a study"),
    "evaluate: bundle": ("evaluate nowhere --data fashion-mini", "nowhere"),
    "evaluate: data": ("evaluate {}/study --data fashion-mni", "did you mean 'fashion-mini'?"),
    "evaluate: batch": ("evaluate x --data fashion-mini --batch-size 0", "--batch-size"),
    "cost: name": ("cost conv_ms_q", "did you mean 'conv_ms_"),
    "latency: name": ("latency conv_ms_q", "did you mean 'conv_ms_"),
    "latency: runtime": ("latency conv_ms_xxs --runtime eagr", "did you mean 'eager'?"),
    "latency: search": ("latency {}/key.yaml --table {}/t.json", "serach: unknown key"),
    "replay: no table": ("replay {}", "expected"),
    "replay: sampler": ("replay {}/study --sampler nsag2", "did you mean 'nsga2'?"),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, list[str]]]:
    folder = tmp_path_factory.mktemp("mistakes")
    write_files(folder)
    commands = [text.replace("{}", str(folder)).split() for text, _ in MISTAKES.values()]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(HEAVY), json.dumps(commands)],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(MISTAKES, json.loads(done.stdout), strict=True))


def write_files(folder: Path) -> None:
    for name, changes in {
        "key": {"serach": {"trials": 3}},
        "value": {"training__epochs": "many"},
        "space": {"space": "spach_mss"},
        "mixer": {"space": broken_space("atention")},
        "reference": {"references": ["conv_ms_q"]},
        "sampler": {"search__sampler": "nsag2"},
        "optuna": {"search__sampler": "NSGAIIISampeler"},
        "callback": {"callbacks": ["wanbd"]},
        "data": {"data": {"name": "folder", "root": "nowhere"}},
        "limits": {"limits": {"max_macs": 10}},
        "warm": {"search__warm_start": "nowhere"},
        "latency": {"limits": {"max_latency": "9ms"}, "latency": {"table": "nowhere.json"}},
        "good": {"search__seed": 77},
    }.items():
        write_search(folder, **changes).rename(folder / f"{name}.yaml")
    (folder / "bare.yaml").write_text("stages: [{depht: 2, width: 8, mixers: conv}]\n")
    study = make_study(folder, search__trials=2)
    study.begin()
    request = study.next()
    study.tell(request, evaluate(request))  # type: ignore[arg-type]
    study.close()


def broken_space(mixer: str) -> dict[str, object]:
    stage = {"depth": 1, "width": 8, "mixers": mixer}
    return {"image_size": 32, "num_classes": 10, "in_channels": 1, "stages": [stage]}


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ({"sampler": "nsga2", "sampler_options": {"poplation": 8}}, "has no such option"),
        ({"sampler": "surrogate", "sampler_options": {"poplation": 8}}, "has no such option"),
        ({"sampler": "NSGAIIISampler", "sampler_options": {"population_size": "8"}}, "a whole num"),
        ({"sampler": "GridSampler"}, "expected of optuna.samplers"),
    ],
    ids=str,
)
def test_options_of_a_sampler_are_checked_before_anything_is_counted(
    search: dict[str, object], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spach_nas.search.plan.FeasibleSet", None)
    changes = {f"search__{key}": value for key, value in search.items()}
    with pytest.raises(ConfigError, match=told):
        plan_search(write_search(tmp_path, **changes), out=tmp_path / "study")


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_before_anything_heavy_is_imported(
    name: str, answers: dict[str, tuple[int, str, list[str]]]
) -> None:
    code, told, heavy = answers[name]
    assert code == 2, told
    assert MISTAKES[name][1] in " ".join(told.replace("│", " ").split()), told
    assert "Traceback" not in told
    assert heavy == [], f"{name}: {told}"


def test_the_names_of_the_mistakes_are_still_mistakes() -> None:
    assert "conv_ms_q" not in REFERENCES
    assert "atention" not in mixer_names()

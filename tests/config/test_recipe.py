"""Recipes: the paper's is the paper's, mistakes are told all at once."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from spach_nas.config.recipe import load_recipe, parse_recipe, recipe_names, recipe_text
from spach_nas.config.training_settings import TrainingSettings
from spach_nas.errors import ConfigError

# Zhao et al. 2021, arXiv:2108.13002, and the paper's code; lr 5e-4 for 512 images a step.
PAPER = {
    "epochs": 300,
    "batch_size": 1024,
    "drop_path": 0.1,
    "optimizer.name": "adamw",
    "optimizer.learning_rate": 5e-4,
    "optimizer.learning_rate_batch": 512,
    "optimizer.weight_decay": 0.05,
    "optimizer.clip_norm": None,
    "schedule.warmup_epochs": 20,
    "schedule.warmup_from": 1e-6,
    "schedule.final": 1e-5,
    "ema.decay": None,
    "augmentation.crop": "resized",
    "augmentation.crop_scale": [0.08, 1.0],
    "augmentation.flip": 0.5,
    "augmentation.rand_augment": "rand-m9-mstd0.5-inc1",
    "augmentation.color_jitter": 0.4,
    "augmentation.erasing": 0.25,
    "augmentation.mixup": 0.8,
    "augmentation.cutmix": 1.0,
    "augmentation.mix": 1.0,
    "augmentation.label_smoothing": 0.1,
    "augmentation.repeats": 3,
    "augmentation.interpolation": "bicubic",
    "evaluation.crop_share": 224 / 256,
}


@pytest.mark.parametrize("key", PAPER)
def test_the_papers_recipe_is_the_papers(key: str) -> None:
    value = load_recipe("spach").as_dict()
    for part in key.split("."):
        value = value[part]
    assert value == PAPER[key]


def test_the_learning_rate_grows_with_the_batch() -> None:
    assert load_recipe("spach").peak_rate == 5e-4 * 1024 / 512
    assert load_recipe("spach", changes=["batch_size=256"]).peak_rate == 2.5e-4
    fixed = load_recipe("spach", changes=["optimizer.learning_rate_batch=null"])
    assert fixed.peak_rate == 5e-4


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_whole_and_comes_back_from_its_text(name: str) -> None:
    recipe = load_recipe(name)
    assert parse_recipe(yaml.safe_load(recipe_text(recipe)), where=name) == recipe


def test_a_file_changes_what_its_base_says(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("base: short\nepochs: 5\naugmentation: {shift: 4}\n", encoding="utf-8")
    own, base = load_recipe(path).as_dict(), load_recipe("short").as_dict()
    assert (own["epochs"], own["augmentation"]["shift"]) == (5, 4)
    own["epochs"], own["augmentation"]["shift"] = base["epochs"], base["augmentation"]["shift"]
    assert own == base
    path.write_text("epochs: 100\n", encoding="utf-8")
    assert load_recipe(path).augmentation == load_recipe("spach").augmentation


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "epochs: 0\nepoch: 5\nprecision: bf17\n"
        "augmentation: {mixup: -1, rand_augment: foo}\noptimizer: {lr: 1}\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    lines = str(caught.value).split("\n")
    assert {tuple(line.split(": ")[:2]) for line in lines} == {
        (f"{path}:{number}", key)
        for number, key in (
            (1, "epochs"),
            (2, "epoch"),
            (3, "precision"),
            (4, "augmentation.mixup"),
            (4, "augmentation.rand_augment"),
            (5, "optimizer.lr"),
        )
    }
    assert any("did you mean 'epochs'?" in line for line in lines)


def test_the_line_of_a_value_that_a_change_replaced_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("base: short\nseed: -1\nepochs: 5\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, changes=["epochs=0"])
    lines = str(caught.value).split("\n")
    assert {line.split("; ")[0] for line in lines} == {f"{path}: epochs: 0", f"{path}:2: seed: -1"}


def test_the_optimizer_of_a_search_is_that_of_a_short_recipe() -> None:
    short = TrainingSettings(optimizer="muon", learning_rate=5e-3, weight_decay=0.1)
    changes = [
        f"optimizer.{name}" for name in ("name=muon", "learning_rate=5e-3", "weight_decay=0.1")
    ]
    assert load_recipe("short", changes=changes).optimizer == short.optimizer_settings


@pytest.mark.parametrize(
    ("key", "short_key"),
    [
        ("epochs", "epochs"),
        ("batch_size", "batch_size"),
        ("optimizer.learning_rate", "learning_rate"),
        ("optimizer.weight_decay", "weight_decay"),
        ("augmentation.label_smoothing", "label_smoothing"),
        ("drop_path", "drop_path_rate"),
    ],
)
def test_a_search_and_a_recipe_have_the_same_bounds(key: str, short_key: str) -> None:
    said = []
    with pytest.raises(ConfigError) as caught:
        load_recipe("short", changes=[f"{key}=-1"])
    said.append(str(caught.value).split("expected ")[1])
    with pytest.raises(ConfigError) as caught:
        TrainingSettings(**{short_key: -1})  # type: ignore[arg-type]
    said.append(str(caught.value).split("expected ")[1])
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("batch_size=7", "a multiple of 2, since Mixup"),
        ("accumulation=3", "a multiple of 3, workers x accumulation"),
        ("epochs=20", "schedule.warmup_epochs: 20.0; expected less than epochs, which is 20"),
        ("augmentation.crop=shifted", "rand_augment: rand-m9-mstd0.5-inc1; expected null, or crop"),
        ("augmentation.crop_scale=[0.5, 0.1]", "expected 0 < low <= high <= 1"),
        ("resources={address: here, workers: 2}", "workers: 2; expected 1 where address is here"),
        (
            "data={check_images: false, skip_broken: true}",
            "check_images: true with it",
        ),
        ("seed.x=1", "--set seed.x=1: seed has no keys in it"),
        ("epochs", "expected KEY=VALUE"),
        ("epochs=[", "is not YAML"),
    ],
)
def test_what_does_not_go_together_is_refused(change: str, message: str) -> None:
    changes = [change]
    if change.startswith(("resources", "data")):
        key, _, text = change.partition("=")
        inner = yaml.safe_load(text)
        changes = [f"{key}.{name}={value}" for name, value in inner.items()]
    with pytest.raises(ConfigError) as caught:
        load_recipe("spach", changes=changes)
    assert message in str(caught.value)


def test_an_unknown_recipe_or_base_is_told_with_its_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"shrt: no such recipe.*did you mean 'short'"):
        load_recipe("shrt")
    path = tmp_path / "own.yaml"
    path.write_text("base: spah\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"base: 'spah'.*did you mean 'spach'"):
        load_recipe(path)


def test_reading_a_recipe_needs_no_heavy_library() -> None:
    code = (
        "import sys, spach_nas.config.recipe, spach_nas.full_size.run_folder\n"
        "print(*{'torch', 'ray', 'timm'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""

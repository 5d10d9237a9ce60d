"""Whoever knows timm, Ray, Optuna or Lightning is told what his words are called here."""

import json
import re
import shlex

import pytest
import typer
from typer.main import get_command

from search_tools import write_search
from spach_nas.cli import EXAMPLES, app
from spach_nas.cli.options import check_words
from spach_nas.config.recipe import load_recipe, recipe_schema
from spach_nas.config.schema import search_schema
from spach_nas.config.search_yaml import load_config
from spach_nas.data import validate_settings
from spach_nas.errors import ConfigError, SpachNasError, did_you_mean
from spach_nas.foreign_words import SYNONYMS

APP_COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
OURS = {
    name: [option for item in command.params for option in (*item.opts, *item.secondary_opts)]
    for name, command in APP_COMMANDS.items()
}


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"limits": {"max_flops": "1G"}}, "did you mean 'max_macs' (MACs; FLOPs = 2 x MACs)?"),
        ({"limits": {"max_parameters": "1M"}}, "did you mean 'max_params'?"),
        ({"objectives": {"flops": "min"}}, "did you mean 'macs' (MACs; FLOPs = 2 x MACs)?"),
        ({"objectives": {"top1": "max"}}, "did you mean 'accuracy'?"),
        ({"objectives": {"accuracy": "maximize"}}, "did you mean 'max'?"),
        ({"training__lr": 1}, "did you mean 'learning_rate'?"),
        ({"training__bs": 1}, "did you mean 'batch_size'?"),
        ({"training__wd": 1}, "did you mean 'weight_decay'?"),
        ({"training__opt": "adam"}, "did you mean 'optimizer'?"),
        ({"training__optimizer": "adam"}, "did you mean 'adamw'?"),
        ({"training__num_epochs": 3}, "did you mean 'epochs'?"),
        ({"training__device": "gpu"}, "did you mean 'cuda'?"),
        ({"training__precision": "bfloat16"}, "did you mean 'bf16'?"),
        ({"proxy__img_size": 32}, "did you mean 'image_size'?"),
        ({"resources__gpus": 1}, "did you mean 'gpus_per_trial'?"),
        ({"search__num_samples": 9}, "did you mean 'trials'?"),
        ({"search__n_trials": 9}, "did you mean 'trials'?"),
        ({"search__timeout": 9}, "did you mean 'max_duration'?"),
        ({"search__sampler": "nsga-ii"}, "did you mean 'nsga2'?"),
        ({"data__data_dir": "x"}, "did you mean 'root'?"),
        ({"data__name": "FashionMNIST"}, "did you mean 'fashion-mnist'?"),
        # In another section than where it was written.
        ({"lr": 1}, "did you mean training.learning_rate"),
        ({"epochs": 1}, "did you mean training.epochs"),
        ({"gpus": 1}, "did you mean resources.gpus_per_trial?"),
        ({"max_flops": 1}, "did you mean limits.max_macs or proxy_limits.max_macs (MACs; FLOPs"),
        ({"metric": 1}, "did you mean 'objectives'?"),
    ],
    ids=str,
)
def test_a_foreign_word_in_a_search_gets_ours(
    changes: dict[str, object], hint: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write_search(tmp_path_factory.mktemp("yaml"), **changes)
    with pytest.raises(SpachNasError, match=re.escape(hint)):
        validate_settings(load_config(path).data)


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ("lr=1", "did you mean optimizer.learning_rate?"),
        ("optimizer.lr=1", "did you mean 'learning_rate'?"),
        ("min_lr=1", "did you mean schedule.final?"),
        ("img_size=64", "did you mean 'image_size'?"),
        ("num_epochs=3", "did you mean 'epochs'?"),
        ("clip_grad=1", "did you mean optimizer.clip_norm?"),
        ("aa=x", "did you mean augmentation.rand_augment?"),
        ("gpus=2", "did you mean resources.gpus_per_worker?"),
        ("epochs=1", "schedule.warmup_epochs: 20.0; expected less than epochs, which is 1"),
    ],
)
def test_a_foreign_word_in_a_recipe_gets_ours(change: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(hint)):
        load_recipe("spach", changes=[change])


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("search x --lr 3", "expected training.learning_rate"),
        ("search x --max-flops 3", "limits.max_macs or proxy_limits.max_macs in the YAML (MACs; "),
        ("search x --num_samples=3", "expected search.trials in the YAML"),
        ("train x --data y --epochs 3", "expected --set epochs=VALUE"),
        ("train x --data y --lr=3", "expected --set optimizer.learning_rate=VALUE"),
        ("serach x", "did you mean 'search'?"),
    ],
)
def test_a_foreign_flag_or_command_gets_ours(line: str, hint: str) -> None:
    with pytest.raises(SpachNasError, match=re.escape(hint)):
        check_words(line.split(), OURS)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--version",
        "search x --out y --resume",
        "search x -- --lr",
        "search x --zzz",
        "report --lr",
    ],
)
def test_what_is_ours_or_unheard_of_is_left_to_the_parser(line: str) -> None:
    check_words(line.split(), OURS)


def test_foreign_words_lead_to_words_that_exist() -> None:
    ours = {*json.dumps([search_schema(), recipe_schema()]).replace('"', " ").split()}
    ours |= {word.strip(",:[]{}") for word in ours}
    for name in SYNONYMS:
        if name not in ("fashion-mnist", "folder", "pt2", "conv", "attention", "mlp"):
            assert set(name.split(".")) <= ours, name


def test_a_near_miss_is_still_found_and_nonsense_is_not() -> None:
    assert did_you_mean("atention", ["conv", "attention"]) == "; did you mean 'attention'?"
    assert did_you_mean("flops", ["accuracy"]) == ""
    assert did_you_mean("zzz", ["accuracy", "macs"]) == ""


@pytest.mark.parametrize("name", OURS)
def test_every_command_shows_an_example_that_it_takes(name: str) -> None:
    assert EXAMPLES[name]
    for line in EXAMPLES[name]:
        program, command, *arguments = shlex.split(line.partition(">")[0])
        assert (program, command) == ("spach-nas", name)
        APP_COMMANDS[name].make_context(name, arguments)
        assert line in APP_COMMANDS[name].epilog


@pytest.mark.parametrize("name", OURS)
def test_help_shows_no_type_of_python(name: str) -> None:
    context = typer.Context(APP_COMMANDS[name])
    for item in APP_COMMANDS[name].get_params(context):
        shown = item.display_type_rich(context)
        assert shown is None or "<" not in shown, item.name

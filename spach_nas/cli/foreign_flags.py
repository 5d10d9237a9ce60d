"""Recognises commands and options of other tools, and names ours before anything is parsed."""

from collections.abc import Mapping, Sequence
from typing import Any

from spach_nas.errors import SpachNasError, did_you_mean, one_of
from spach_nas.foreign_words import note

# Our command, then foreign words for it.
COMMANDS = {
    "cost": "flops macs params count profile complexity summary",
    "doctor": "info env env_info diagnose system",
    "evaluate": "eval test val validate score predict",
    "export": "convert onnx save package",
    "latency": "bench benchmark speed time timing",
    "references": "list ls models zoo list_models",
    "report": "plot visualize visualise html show dashboard results view",
    "search": "run tune nas optimize optimise start go",
    "space": "describe explore count_space size",
    "train": "fit finetune retrain",
    "verify": "check_bundle compare",
    "watch": "status monitor progress tail follow",
}
OPTIONS = {
    "--batch-size": "bs b batch",
    "--data": "data_dir data_path dataset d root",
    "--dry-run": "check validate dry test_run no_train",
    "--formats": "format f export_format",
    "--init": "pretrained checkpoint weights initial_checkpoint ckpt load finetune",
    "--json": "as_json json_output",
    "--once": "no_follow single",
    "--out": "output output_dir outdir save_dir log_dir o dir results_dir dest result_dir out_dir",
    "--pick": "trial id select which",
    "--plugin": "import include module plugins",
    "--recipe": "config cfg c hparams",
    "--resume": "continue restore resume_from auto_resume",
    "--runtime": "backend engine runtimes",
    "--seeds": "seed n_seeds repeats",
    "--set": "override param hparam",
    "--skip-broken": "skip_bad ignore_errors skip_errors",
    "--split": "subset fold",
    "--static": "png pdf svg picture pictures image",
    "--top": "top_k topk k n",
    "--trials": "num_samples n_trials budget num_trials",
}
# Words for a view in a browser, and for the file that these commands take as their argument.
_PAGE = "serve web browser gui page live watch port dashboard"
_FILE = "config cfg yaml file c search_space"


def check_words(arguments: Sequence[str], options: Mapping[str, Sequence[str]]) -> None:
    """Refuse a foreign command or option. A misspelt option is left to the parser.

    Args:
        arguments: The arguments of the command line, without the program.
        options: The options of each command.

    Raises:
        SpachNasError: A word is foreign; the message names what is expected.
    """
    if not arguments or arguments[0].startswith("-"):
        return
    command, *others = arguments
    if command not in options:
        found = _ours(command, COMMANDS)
        hint = f"; did you mean {found[0]!r}?" if found else did_you_mean(command, options)
        raise SpachNasError(f"{command}: no such command; expected {one_of(options)}{hint}")
    for word in others:
        if word == "--":
            return
        flag = word.partition("=")[0]
        if flag.startswith("-") and flag not in options[command]:
            expected = _expected(command, flag, options[command])
            if expected:
                raise SpachNasError(f"{flag}: {command} has no such option; expected {expected}")


def _expected(command: str, flag: str, own: Sequence[str]) -> str:
    for name in _ours(flag, OPTIONS):
        if name in own:
            return name
    if command in ("search", "watch") and _plain(flag) in _PAGE.split():
        return (
            "`spach-nas watch FOLDER` in another terminal, or for a browser "
            "`optuna-dashboard sqlite:///FOLDER/study.db`"
        )
    if command in ("search", "space"):
        if _plain(flag) in _FILE.split():
            return f"only the file: spach-nas {command} FILE.yaml"
        from spach_nas.config.schema import search_schema

        places = _places(flag, search_schema())
        said = note(flag, places[0].rsplit(".", 1)[-1]) if places else ""
        words = f"{one_of(places)} in the YAML{f' ({said})' if said else ''}"
        return words if places else ""
    if command == "train":
        from spach_nas.config.recipe import recipe_schema

        return one_of(f"--set {path}=VALUE" for path in _places(flag, recipe_schema()))
    return ""


def _places(flag: str, schema: dict[str, Any]) -> list[str]:
    from spach_nas.validation import places_of

    return places_of(flag, schema)[:2]


def _ours(word: str, table: Mapping[str, str]) -> list[str]:
    return [name for name, words in table.items() if _plain(word) in words.split()]


def _plain(word: str) -> str:
    return word.strip("-").replace("-", "_").lower()

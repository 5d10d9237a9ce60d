"""Checks a training at full size before it begins; nothing is written.

Quick checks come first; torch is imported after them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from spach_nas.config.recipe import HERE, LOCAL, DataOptions, Recipe, load_recipe
from spach_nas.config.training_settings import DataSettings
from spach_nas.data.images import HeldOut, Normalisation, few_scored, measure_normalisation
from spach_nas.data.reader import (
    DataChoice,
    OpenData,
    check_data,
    check_there,
    class_names,
    named_data,
    open_data,
)
from spach_nas.data.split_reader import Pictures
from spach_nas.errors import BundleError, ConfigError, DataError, StudyError
from spach_nas.export import Choice, choose
from spach_nas.export.bundle import is_timm_bundle, read_manifest
from spach_nas.export.named_networks import Initial, check_initial, load_initial, load_teacher
from spach_nas.full_size.initial import (
    adapted_architecture,
    begin_timm,
    check_timm_init,
    fitted,
)
from spach_nas.full_size.run_folder import RUN_JSON, Job, check_origin, known_files, teacher_file
from spach_nas.search.loggers import check_packages
from spach_nas.space.architecture import Architecture
from spach_nas.space.mixers import plugin_mixers
from spach_nas.space.scaling import DataShape
from spach_nas.space.timm_reference import TimmModel, is_timm, timm_name

_SAMPLE = 10_000
# Share held out by trainings whose run.json does not state it yet.
_SHARE_BEFORE = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRequest:
    """A training as the user asks for it.

    Attributes:
        source: A bundle, a study, an architecture file, a model of the paper, or one of timm.
        data: A folder with train/ and val/, or the name of a data set.
        recipe: Name or file of the recipe.
        out: Folder of the run; None: `results/SOURCE-DATA`.
        resume: Continue the run in that folder.
        init: Initial weights, see `load_initial`, and `begin_timm` for timm's; None: those
            of the seed.
        changes: Changes of the recipe, `key.path=value` each.
    """

    source: str
    data: str
    recipe: str | Path = "spach"
    out: Path | None = None
    resume: bool = False
    init: str | None = None
    changes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPlan:
    """A training that was checked and has not begun.

    Attributes:
        job: The training.
        data: Its images.
        weights: Initial weights; None: drawn from the seed.
        teacher: The network of the recipe's `teacher`, sealed; None: there is none.
        notes: Remarks for the user.
        resumed: Whether the folder holds a part of it already.
    """

    job: Job
    data: OpenData
    weights: bytes | None
    teacher: bytes | None
    notes: tuple[str, ...]
    resumed: bool


def plan_training(request: TrainingRequest) -> TrainingPlan:
    """Check everything that can be checked before anything is trained.

    Raises:
        SpachNasError: A mistake in any part of the request.
    """
    recipe = load_recipe(request.recipe, changes=request.changes)
    check_packages(recipe.loggers, key="loggers")
    timm, init = is_timm(request.source), request.init
    if timm:
        timm_name(request.source)
        check_timm_init(init)
        choice = None
    else:
        choice = _choose(request.source)
        if init is not None:
            check_initial(init, model=request.source)
    name = request.source if choice is None else choice.name
    folder = request.out or Path("results") / f"{_plain(name)}-{_plain(request.data)}"
    resumed = _is_resumed(folder, resume=request.resume)
    check_there(data_choice(request.data, recipe.data), for_training=True)
    # From here on, torch.
    _check_device(recipe)
    initial = None if init is None or timm else load_initial(init, model=request.source)
    images = _open(
        request.data, recipe, folder if resumed else None, initial=initial, source=choice
    )
    architecture: Architecture | TimmModel
    given: dict[str, Any] = {
        "classes": len(images.train.class_names),
        "channels": images.train.channels,
        "image_size": recipe.image_size,
    }
    if choice is None:
        architecture, changed, weights, begun = begin_timm(request.source, init, given)
    else:
        architecture, changed = adapted_architecture(choice.architecture, **given)
        weights, begun = _weights(
            initial, architecture, choice=choice, recipe=recipe, source=request.source
        )
    plan = TrainingPlan(
        job=Job(
            name=name,
            architecture=architecture,
            recipe=recipe,
            data=images.choice,
            class_names=images.train.class_names,
            normalisation=_normalisation(
                recipe, architecture, images, initial, pretrained=weights is not None
            ),
            folder=folder.absolute(),
            initial=weights is not None,
            held_out=images.held_out,
        ),
        data=images,
        weights=weights,
        teacher=_teacher(recipe, architecture, folder=folder if resumed else None),
        notes=(
            *_few(images),
            *images.notes,
            *([f"the network has {changed}"] if changed else []),
            *begun,
            *_format_notes(recipe),
        ),
        resumed=resumed,
    )
    _check_sizes(plan)
    if isinstance(architecture, Architecture):
        _check_mixers(architecture)
    if resumed:
        check_origin(folder, plan.job, images)
    return plan


def _few(images: OpenData) -> tuple[str, ...]:
    note = None if images.validation is None else few_scored(len(images.validation))
    return () if note is None else (note,)


def check_evaluation(source: str, *, data: str, options: DataOptions) -> None:
    """Check what can be checked of an evaluation without torch; see `evaluate`.

    Raises:
        DataError: The images are missing.
        BundleError: There is no such bundle, or it has no weights.
    """
    check_there(data_choice(data, options), for_training=False)
    if is_timm(source):
        timm_name(source)
        return
    if is_timm_bundle(source):
        read_manifest(Path(source))
        return
    choice = choose(source)
    if choice.weights is None or choice.preprocessing is None:
        raise BundleError(f"{source}: has no trained weights; expected a bundle with them")


def data_choice(name: str, options: DataOptions, *, channels: int | None = None) -> DataChoice:
    """The data set that `--data` names, with the options of a recipe.

    Raises:
        DataError: There is no such folder, and no data set of this name.
    """
    set_name, root = named_data(name, root=None if options.root is None else options.root.resolve())
    return DataChoice(
        settings=DataSettings(
            name=set_name,
            root=root,
            validation=options.validation or None,
            split_seed=options.split_seed,
            download=options.download,
            skip_broken=options.skip_broken,
        ),
        validated=options.validation != 0,
        check_images=options.check_images,
        channels=channels,
    )


def _check_device(recipe: Recipe) -> None:
    # The devices of a cluster's machines are known only to its workers.
    if recipe.resources.address in (HERE, LOCAL):
        from spach_nas.training import choose_runtime

        choose_runtime(device=recipe.device)


def _format_notes(recipe: Recipe) -> list[str]:
    # Nor are its processors known here.
    if recipe.resources.address not in (HERE, LOCAL):
        return []
    from spach_nas.training import format_warning

    warning = format_warning(recipe.precision, device=recipe.device)
    return [] if warning is None else [warning]


def _check_mixers(architecture: Architecture) -> None:
    own = plugin_mixers(name for stage in architecture.stages for name in stage.mixers)
    if own:
        from spach_nas.networks.mixer_modules import check_mixers

        check_mixers([architecture], own)


def _choose(source: str) -> Choice:
    # Of a study, the target is trained, for which the proxy stood in. Other sources have one scale.
    is_study = Path(source).is_dir() and not (Path(source) / "architecture.yaml").is_file()
    return choose(source, scale_to="target" if is_study else None)


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in Path(name).name) or "run"


def _is_resumed(folder: Path, *, resume: bool) -> bool:
    if not folder.exists():
        return False
    if not resume:
        raise StudyError(
            f"{folder}: exists already and is never overwritten; expected --resume to continue "
            "it, or another folder with --out"
        )
    if not (folder / RUN_JSON).is_file():
        raise StudyError(f"{folder}: holds no {RUN_JSON}; expected the folder of a training")
    return True


def _open(
    name: str,
    recipe: Recipe,
    folder: Path | None,
    *,
    initial: Initial | None,
    source: Choice | None,
) -> OpenData:
    channels = None if initial is None else initial.network.in_chans
    choice = data_choice(name, recipe.data, channels=channels)
    if folder is None:
        return check_data(replace(choice, held_out=_held_out(source, choice)))
    known = known_files(folder)
    part = known.get("held_out", {"share": _SHARE_BEFORE, "seed": recipe.data.split_seed})
    return open_data(
        replace(
            choice,
            broken=frozenset(known["broken"]),
            channels=known["channels"],
            held_out=None if part is None else HeldOut(**part),
        )
    )


def _held_out(source: Choice | None, choice: DataChoice) -> HeldOut | None:
    """The part that the search of the network held out, if the images have the same classes."""
    images = None if source is None else source.images
    if images is None or images.held_out is None:
        return None
    try:
        classes = class_names(choice)
    except DataError:  # reported when the images are opened
        return None
    return images.held_out if classes == images.class_names else None


def _teacher(
    recipe: Recipe, architecture: Architecture | TimmModel, *, folder: Path | None
) -> bytes | None:
    """The teacher; that of the run where it is resumed."""
    if recipe.teacher is None:
        return None
    if folder is not None and teacher_file(folder).is_file():
        return teacher_file(folder).read_bytes()
    shape = DataShape(in_channels=architecture.in_channels, num_classes=architecture.num_classes)
    return load_teacher(recipe.teacher, data=shape, key="teacher")


def _weights(
    initial: Initial | None,
    architecture: Architecture,
    *,
    choice: Choice,
    recipe: Recipe,
    source: str,
) -> tuple[bytes | None, list[str]]:
    """Initial weights, and remarks on them."""
    if initial is not None:
        weights, begun = fitted(initial, architecture, resample_tokens=recipe.resample_tokens)
        return weights, [begun]
    if choice.weights is not None:
        return None, [f"begins from scratch; `--init {source}` takes the weights of the bundle"]
    return None, []


def _normalisation(
    recipe: Recipe,
    architecture: Architecture | TimmModel,
    images: OpenData,
    initial: Initial | None,
    *,
    pretrained: bool,
) -> Normalisation:
    if initial is not None and initial.preprocessing is not None:
        # Weights expect what they were trained on.
        return initial.preprocessing.normalisation
    if pretrained and isinstance(architecture, TimmModel):
        from spach_nas.export.timm_bundle import timm_normalisation
        from spach_nas.networks.timm_networks import timm_config

        return timm_normalisation(timm_config(architecture), channels=architecture.in_channels)
    if recipe.data.normalisation == "measured":
        sample = _spread(images.train, _SAMPLE).in_memory(architecture.image_size)
        return measure_normalisation(sample.images)
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    if architecture.in_channels == 3:
        return Normalisation(mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD)
    mean, std = (float(np.mean(v)) for v in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    return Normalisation(mean=(mean,), std=(std,))


def _spread(pictures: Pictures, most: int) -> Pictures:
    return pictures.take(np.arange(0, len(pictures), -(-len(pictures) // most)))


def _check_sizes(plan: TrainingPlan) -> None:
    job, images = plan.job, plan.data.train
    if len(images) < job.recipe.batch_size:
        raise ConfigError(
            f"batch_size: {job.recipe.batch_size}; expected at most the {len(images):,} training "
            "images"
        )
    if not job.shifted or images.held is None:
        return
    own, wanted = images.held.images.shape[1:3], job.architecture.image_size
    if wanted[0] >= 2 * own[0] and wanted[1] >= 2 * own[1]:
        sides = ["x".join(map(str, size)) for size in (wanted, own)]
        raise DataError(
            f"image_size: {sides[0]}; {images.name} has images of {sides[1]}, which would be "
            "mostly padding; expected a smaller one, such as --set image_size=32"
        )

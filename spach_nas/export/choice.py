"""Finds the network to export: in a study or a bundle, a model of the paper, or a file."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from spach_nas.config.search_yaml import SearchConfig, load_config
from spach_nas.config.study_files import DATA_JSON, SEARCH_YAML
from spach_nas.data.images import HeldOut, Pixels
from spach_nas.data.preprocessing import Preprocessing, read_preprocessing
from spach_nas.errors import BundleError, StudyError, did_you_mean, one_of
from spach_nas.export.bundle import (
    ARCHITECTURE,
    WEIGHTS,
    check_manifest,
    load_architecture,
    load_preprocessing,
    read_samples,
)
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import REFERENCES
from spach_nas.space.scaling import scale, shape_of
from spach_nas.study import pareto
from spach_nas.study.folder import check_plugins, checkpoint_path
from spach_nas.study.records import Record, read_records

Scale = Literal["proxy", "target"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One network to export.

    Attributes:
        architecture: The architecture at the requested scale.
        name: Name for display.
        record: Record of the trial, if it comes from a study.
        search_yaml: Text of the search as run, if it comes from a study.
        weights: The weights as safetensors; None if there are none.
        preprocessing: Preprocessing of the images that the weights were trained on.
        config: The search, if it comes from a study.
        front: The front of the study, cheapest target first.
        training: How the weights were trained, a section of Markdown, if not by a search.
        note: A remark for users, if any.
        images: Preprocessing of the images of its search or training, with or without weights.
            None if not known.
        samples: A few images of the kind that the weights were trained on, (N, H, W, C). None
            means those of its study, if there is one.
    """

    architecture: Architecture
    name: str
    record: Record | None = None
    search_yaml: str | None = None
    weights: bytes | None = None
    preprocessing: Preprocessing | None = None
    config: SearchConfig | None = None
    front: tuple[Record, ...] = ()
    training: str | None = None
    note: str | None = None
    images: Preprocessing | None = None
    samples: Pixels | None = None


def choose(source: str | Path, *, pick: str = "best", scale_to: Scale | None = None) -> Choice:
    """The network that a user names.

    Args:
        source: Folder of a study or of a bundle, name of a paper's model, or an architecture file.
        pick: For a study: `best` (by the first trained objective), `knee` (farthest from the chord
            of the front), the number of a trial or an `arch_id`.
        scale_to: `proxy`, with the weights of the search, or `target`, which has none yet. None
            means the proxy for a study and the target for other sources.

    Raises:
        BundleError: There is no such source or trial, or its weights were not kept.
        PluginError: A mixer of the study is not known here.
    """
    path = Path(source)
    if (path / ARCHITECTURE).is_file():
        if scale_to is not None:
            raise BundleError(f"{source}: a bundle has only one scale; expected no --scale")
        return _from_bundle(path)
    if path.is_dir():
        return _from_study(path, pick=pick, scale_to=scale_to or "proxy")
    if scale_to == "proxy":
        raise BundleError(f"{source}: --scale proxy needs the folder of a study")
    if str(source) in REFERENCES:
        return Choice(architecture=REFERENCES[str(source)].architecture, name=str(source))
    if path.is_file():
        architecture = Architecture.from_yaml(path)
        return Choice(architecture=architecture, name=path.stem)
    raise BundleError(
        f"{source}: expected the folder of a study, an architecture file or a model of the paper "
        f"(`spach-nas references` lists them){did_you_mean(str(source), REFERENCES)}"
    )


def pick_record(records: tuple[Record, ...], pick: str, *, config: SearchConfig) -> Record:
    """The record that `best`, `knee`, a trial number or an `arch_id` refers to.

    Raises:
        BundleError: There is no such record, or its trial failed.
    """
    if pick in ("best", "knee"):
        judge = pareto.best if pick == "best" else pareto.knee
        found = judge(records, config.objective_list, limits=config.limits)
        if found is None:
            raise BundleError(f"--pick {pick}: no trial of the study is complete")
        return found
    matching = [record for record in records if pick in (str(record.trial), record.arch_id)]
    complete = [record for record in matching if record.state == "complete"]
    if complete:
        # One record per rung: the highest was trained longest.
        return max(complete, key=lambda record: record.fidelity.rung)
    if matching:
        raise BundleError(f"--pick {pick}: the trial failed: {matching[-1].reason}")
    raise BundleError(
        f"--pick {pick}: no such trial; expected best, knee, a trial number up to "
        f"{max((record.trial for record in records), default=0)} or an arch_id"
        f"{did_you_mean(pick, ('best', 'knee'))}"
    )


def _from_study(folder: Path, *, pick: str, scale_to: Scale) -> Choice:
    check_plugins(folder)
    records = read_records(folder)
    config = load_config(folder / SEARCH_YAML)
    record = pick_record(records, pick, config=config)
    name = record.reference or f"trial {record.trial}"
    search_yaml = (folder / SEARCH_YAML).read_text(encoding="utf-8")
    front = pareto.front(records, config.objective_list, limits=config.limits)
    images = _images(folder, config)
    if scale_to == "target":
        return Choice(
            architecture=record.architecture,
            name=name,
            record=record,
            search_yaml=search_yaml,
            config=config,
            front=front,
            note=_target_note(record, images),
            images=images,
        )
    weights = checkpoint_path(folder, record)
    if not weights.is_file():
        if not config.evaluators[record.fidelity.rung].spec.trains:
            raise BundleError(
                f"--pick {pick}: trial {record.trial} was scored by {record.evaluator}, which "
                "leaves no weights; expected --scale target, and `spach-nas train` to train it"
            )
        kept = [
            str(item.trial)
            for item in records
            if checkpoint_path(folder, item).is_file() and item.state == "complete"
        ]
        raise BundleError(
            f"--pick {pick}: the weights of trial {record.trial} were not kept, only those of the "
            f"front are; expected {one_of(kept) or 'a study with kept weights'}, or --scale target"
        )
    if images is None:
        read_preprocessing(folder / DATA_JSON)  # raises the error that `_images` suppressed
    assert images is not None
    return Choice(
        architecture=scale(record.architecture, config.proxy, images.data_shape),
        name=name,
        record=record,
        search_yaml=search_yaml,
        weights=_network_weights(weights),
        preprocessing=images,
        config=config,
        front=front,
        images=images,
    )


def _images(folder: Path, config: SearchConfig) -> Preprocessing | None:
    """The preprocessing of a study's images; None if not recorded, as in some published studies."""
    try:
        found = read_preprocessing(folder / DATA_JSON)
    except StudyError:
        return None
    if found.held_out is not None:
        return found
    # Older studies do not record which part was held out, but their settings determine it.
    part = HeldOut(share=config.data.held_out_share, seed=config.data.split_seed)
    return replace(found, held_out=part)


def _target_note(record: Record, images: Preprocessing | None) -> str | None:
    """A remark if the target's channels and classes are not those of the search's images."""
    own = shape_of(record.architecture)
    if images is None or own == images.data_shape:
        return None
    return (
        f"the target has {own}, as its search space fixes them, but the images of the search have "
        f"{images.data_shape}; `spach-nas train` uses those of the data that it trains on"
    )


def choose_top(
    source: str | Path, count: int, *, scale_to: Scale | None = None
) -> tuple[Choice, ...]:
    """The members of a study's front with the best scores, best first; see `choose`.

    Raises:
        BundleError: The source is not a study, or its front is smaller.
    """
    folder = Path(source)
    if not folder.is_dir() or (folder / ARCHITECTURE).is_file():
        raise BundleError(f"{source}: --top needs the folder of a study")
    records = read_records(folder)
    config = load_config(folder / SEARCH_YAML)
    members = list(pareto.front(records, config.objective_list, limits=config.limits))
    if len(members) < count:
        raise BundleError(
            f"--top {count}: the front has only {len(members)} members; expected at most as many"
        )
    chosen = []
    for _ in range(count):
        best = pareto.best(members, config.objective_list)
        assert best is not None, "members of a front have scores"
        members.remove(best)
        chosen.append(choose(folder, pick=str(best.trial), scale_to=scale_to))
    return tuple(chosen)


def _from_bundle(folder: Path) -> Choice:
    _, problems = check_manifest(folder)
    if problems:
        raise BundleError("\n".join(problems))
    weights = folder / WEIGHTS
    preprocessing = load_preprocessing(folder)
    return Choice(
        architecture=load_architecture(folder),
        name=folder.resolve().name,
        weights=weights.read_bytes() if weights.is_file() else None,
        preprocessing=preprocessing,
        images=preprocessing,
        samples=read_samples(folder),
    )


def _network_weights(path: Path) -> bytes:
    # Imported last, so that every other mistake is reported before torch is loaded.
    from spach_nas.training import CheckpointError, network_weights

    try:
        return network_weights(path.read_bytes())
    except CheckpointError as problem:
        raise BundleError(f"{path}: {problem}; expected the weights that a search wrote") from None

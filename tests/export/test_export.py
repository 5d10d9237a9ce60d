import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from bundles import write_bundle
from conftest import Finished, run_main
from search_tools import drive, make_study
from spach_nas.data.preprocessing import Preprocessing, read_preprocessing
from spach_nas.errors import BundleError, StudyError
from spach_nas.export import choose, export, load_model
from spach_nas.networks import build
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import get_reference
from spach_nas.space.scaling import DataShape, ProxyRule, scale
from spach_nas.study.pareto import knee
from spach_nas.study.records import read_records

SMALL = scale(
    get_reference("hybrid_ms_s_plus").architecture,
    ProxyRule(image_size=(32, 32), patch_size=2, width_scale=0.0625),
    DataShape(in_channels=1, num_classes=3),
)
PREPROCESSING = Preprocessing(mean=(0.3,), std=(0.4,), class_names=("a", "b", "c"))


def random_weights(architecture: Architecture) -> bytes:
    """Weights under which every part matters, as safetensors."""
    from safetensors.torch import save

    generator = torch.Generator().manual_seed(1)
    state = build(architecture).state_dict()
    return save(
        {
            name: torch.randn(tensor.shape, generator=generator).abs() * 0.3
            if tensor.is_floating_point()
            else tensor
            for name, tensor in state.items()
        }
    )


def test_a_model_of_the_paper_leaves_without_weights(tmp_path: Path) -> None:
    out = export(choose("conv_ms_xxs"), out=tmp_path / "bundle", formats=("safetensors",))
    assert not {path.name for path in out.iterdir()} & {"model.safetensors", "preprocessing.json"}
    assert Architecture.from_yaml(out / "architecture.yaml") == (
        get_reference("conv_ms_xxs").architecture
    )
    network = timm.create_model(f"local-dir:{out}")
    assert sum(p.numel() for p in network.parameters()) == 5_085_224
    assert "no weights" in (out / "README.md").read_text()


def test_an_architecture_file_leaves_as_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SMALL.to_yaml())
    out = export(choose(tmp_path / "mine.yaml"), out=tmp_path / "bundle")
    assert load_model(out).architecture == SMALL


def test_a_bundle_gives_back_the_network_in_timm_and_here(tmp_path: Path) -> None:
    weights = random_weights(SMALL)
    out = write_bundle(
        tmp_path / "b", architecture=SMALL, weights=weights, preprocessing=PREPROCESSING
    )
    ours, theirs = load_model(out), timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    images = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        assert ours(images).abs().min() > 0
        assert torch.equal(ours(images), theirs(images))
    assert theirs.pretrained_cfg["mean"] == [0.3]
    assert json.loads((out / "config.json").read_text())["label_names"] == ["a", "b", "c"]


def test_an_existing_bundle_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SMALL.to_yaml())
    out = export(choose(tmp_path / "mine.yaml"), out=tmp_path / "bundle")
    before = (out / "README.md").read_text()
    with pytest.raises(BundleError, match="exists already"):
        export(choose("conv_ms_s"), out=out)
    assert (out / "README.md").read_text() == before


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    other = replace(SMALL, num_classes=4)
    out = write_bundle(
        tmp_path / "b",
        architecture=other,
        weights=random_weights(SMALL),
        preprocessing=PREPROCESSING,
    )
    with pytest.raises(BundleError, match=r"model\.safetensors: belongs to another network.*head"):
        load_model(out)


@pytest.mark.parametrize("damaged", [b"", b"\x80\x04K\x01.", b"\xff" * 64])
def test_damaged_weights_are_refused(tmp_path: Path, damaged: bytes) -> None:
    out = write_bundle(
        tmp_path / "b", architecture=SMALL, weights=damaged, preprocessing=PREPROCESSING
    )
    with pytest.raises(BundleError, match="not a safetensors file"):
        load_model(out)


def test_a_folder_that_is_no_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"holds no architecture\.yaml"):
        load_model(tmp_path)


def test_the_knee_and_any_kept_trial_leave(finished_search: Finished, tmp_path: Path) -> None:
    records = read_records(finished_search.folder)
    from spach_nas.config.search_yaml import load_config
    from spach_nas.config.study_files import SEARCH_YAML

    config = load_config(finished_search.folder / SEARCH_YAML)
    expected = knee(records, config.objective_list)
    assert expected is not None
    for pick in ("knee", str(expected.trial), expected.arch_id):
        choice = choose(finished_search.folder, pick=pick)
        assert choice.record == expected
        assert choice.architecture.arch_id == expected.proxy_id


def test_the_target_leaves_without_weights(finished_search: Finished, tmp_path: Path) -> None:
    out = export(choose(finished_search.folder, scale_to="target"), out=tmp_path / "target")
    assert not (out / "model.safetensors").exists()
    best = max(
        read_records(finished_search.folder), key=lambda record: record.objectives["accuracy"]
    )
    assert Architecture.from_yaml(out / "architecture.yaml") == best.architecture


def test_weights_that_were_not_kept_are_named_with_those_that_were(tmp_path: Path) -> None:
    study = make_study(tmp_path, search__trials=40)
    drive(study)
    members = {record.trial for record in study.front()}
    dominated = next(record for record in study.records if record.trial not in members)
    with pytest.raises(BundleError, match="only those of the front are") as caught:
        choose(study.folder, pick=str(dominated.trial))
    assert all(str(trial) in str(caught.value) for trial in members)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "expected the folder of a study, an architecture file or a model"),
        (["conv_ms_z"], "did you mean 'conv_ms_s'"),
        (["conv_ms_s", "--scale", "proxy"], "needs the folder of a study"),
    ],
)
def test_a_wrong_source_is_told(tmp_path: Path, arguments: list[str], message: str) -> None:
    code, lines = run_main("export", *arguments, "--out", str(tmp_path / "b"))
    assert code == 2
    assert message in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_pick_is_told(finished_search: Finished, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="expected best, knee, a trial number up to 5 or"):
        choose(finished_search.folder, pick="17")


def test_damaged_preprocessing_is_told(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('{"mean": [0.1]}')
    with pytest.raises(StudyError, match=r"data\.json: missing or damaged"):
        read_preprocessing(tmp_path / "data.json")

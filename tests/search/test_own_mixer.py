"""The worked example of docs/own_mixer.md, from the module to the bundle."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch

import spach_nas
from conftest import run_main
from own_mixer import blocks, forget, write_example
from spach_nas import Architecture, SearchSpace, Stage, build
from spach_nas.config.plugins import load_plugins, restore
from spach_nas.cost.closed_form import cost
from spach_nas.errors import PluginError
from spach_nas.networks.traced_cost import trace_cost
from spach_nas.space.mixers import MIXERS, MixerCost, plugin_mixers


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the example in it and nothing brought in."""
    forget(monkeypatch)
    write_example(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def architecture(pool_size: int = 3, *, shared: bool = False) -> Architecture:
    options = (("pool_size", pool_size),)
    return Architecture(
        stem="conv1",
        patch_size=2,
        stages=(
            Stage(mixers=("pool", "conv"), width=8, heads=2, expansion_ratio=2, options=options),
            Stage(
                mixers=("shift", "pool", "attention", "shift"),
                width=10,
                heads=2,
                expansion_ratio=3,
                options=options,
                shared=shared,
            ),
        ),
        image_size=(16, 24),
        in_channels=2,
        num_classes=5,
    )


def test_the_code_of_the_document_runs(example: Path) -> None:
    load_plugins(["my_mixers"])
    exec(compile(blocks("python")[1], "own_mixer.md", "exec"), {})


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("pool_size", [3, 5, 7])
def test_closed_form_equals_trace_and_parameters(
    example: Path, pool_size: int, shared: bool
) -> None:
    load_plugins(["my_mixers"])
    mixed = architecture(pool_size, shared=shared)
    network = build(mixed)
    assert trace_cost(network, mixed.image_size, in_channels=2) == cost(mixed)
    assert sum(value.numel() for value in network.parameters()) == cost(mixed).params
    # Counted by hand: what is left when pooling, which costs nothing, takes the place of shifting.
    C, N = 10, 4 * 6
    without = Architecture.from_dict(
        json.loads(json.dumps(mixed.to_dict()).replace('"shift"', '"pool"'))
    )
    shifts = 1 if shared else 2
    assert cost(mixed).params - cost(without).params == shifts * (C * C + C)
    assert cost(mixed).macs - cost(without).macs == 2 * N * C * C


def test_the_option_reaches_the_network(example: Path) -> None:
    load_plugins(["my_mixers"])
    x = torch.randn(1, 8, 12, 8, dtype=torch.float64)
    for pool_size in (3, 5):
        mixer = build(architecture(pool_size)).stages[0].blocks[0].mixer
        half = pool_size // 2
        # Each position by itself: the mean over what of the square lies inside.
        expected = (
            torch.stack(
                [
                    torch.stack(
                        [
                            x[
                                :, max(0, i - half) : i + half + 1, max(0, j - half) : j + half + 1
                            ].mean((1, 2))
                            for j in range(12)
                        ],
                        dim=1,
                    )
                    for i in range(8)
                ],
                dim=1,
            )
            - x
        )
        torch.testing.assert_close(mixer(x), expected)


def test_the_space_of_the_document_counts_the_option_where_it_is_felt(example: Path) -> None:
    import yaml

    load_plugins(["my_mixers"])
    space = SearchSpace.from_dict(yaml.safe_load(blocks("yaml")[0])["space"])
    assert space.parameters["pool_size"] == (3, 5)
    assert space.parameters["stage2.pool_size"] == (3, 7)
    # Stage 1: conv or conv+conv has no pool_size; 2 + 4 - 2 arrangements have two each.
    first = 2 * (2 + 4 - 2) + 2
    # Stage 2 at depth d: leading L, trailing T, 0 to d last blocks; those without a pool block are
    # T^d (2) and conv-led (1 + 2 (d - 1)), pool-led ones 1 + 2 (d - 1) and count twice.
    second = sum(2 + (1 + 2 * (d - 1)) + 2 * (1 + 2 * (d - 1)) for d in (1, 2, 3))
    assert space.size() == first * second


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be imported: ModuleNotFoundError"),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero; expected a module in"),
        (
            "pass",
            "registers no mixer, sampler, ",
        ),
        ("mixer('conv', {})", "mixer 'conv' is registered already; expected another name"),
        ("mixer('new', {'width': (1, 2)})", "mixer 'new': options: 'width'; expected a name"),
        ("mixer('new', {'block2': (1, 2)})", "mixer 'new': options: 'block2'; expected a name"),
        ("mixer('new', {'Size': (1, 2)})", "mixer 'new': options: 'Size'; expected a name"),
        ("mixer('new', {'size': 3})", "mixer 'new': options.size: 3; expected a tuple of distinct"),
        ("mixer('new', {'size': (1, True)})", "options.size: (1, True); expected a tuple of"),
        (
            "mixer('new', {'size': (1, 2)}); mixer('more', {'size': (2, 1)})",
            "mixer 'more': options.size: (2, 1); expected (1, 2), as another mixer declares it",
        ),
    ],
)
def test_a_plugin_that_cannot_be_brought_in_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, message: str
) -> None:
    forget(monkeypatch)
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "my_mixers.py").write_text(
            "from spach_nas.space.mixers import MixerCost, MixerSpec, register_mixer\n"
            "def mixer(name, options):\n"
            "    free = lambda site: MixerCost(0, 0, 0)\n"
            "    spec = MixerSpec(name=name, short=name, cost=free, module=None, options=options)\n"
            f"    register_mixer(spec)\n{text}\n"
        )
    code, lines = run_main("search", "quickstart", "--dry-run", "--plugin", "my_mixers")
    assert code == 2
    [line] = lines
    assert line.startswith("plugin my_mixers: ")
    assert message in line


def test_bringing_in_twice_is_once(example: Path) -> None:
    load_plugins(["my_mixers", "my_mixers"])
    load_plugins(["my_mixers"])
    import my_mixers

    assert my_mixers is sys.modules["my_mixers"]


def test_a_file_cannot_name_what_is_imported(example: Path) -> None:
    text = (example / "pooled.yaml").read_text()
    (example / "pooled.yaml").write_text(text + "plugin: my_mixers\n")
    code, lines = run_main("search", "pooled.yaml", "--dry-run")
    assert code == 2
    assert any("unknown key" in line and "plugin" in line for line in lines)
    assert any("unknown mixer 'pool'" in line for line in lines)
    assert "my_mixers" not in sys.modules


def test_an_installed_package_brings_in_its_mixers_by_an_entry_point(tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text(
        "from spach_nas.space.mixers import MixerCost, MixerSpec, register_mixer\n"
        "free = lambda site: MixerCost(0, 0, 0)\n"
        "register_mixer(MixerSpec(name='tiny', short='ti', cost=free, module='tiny:Tiny',"
        " options={'tiny_size': (1, 2)}))\n"
    )
    metadata = tmp_path / "tiny-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[spach_nas.mixers]\n"
        + blocks("toml")[0].split("\n")[1].replace("my_mixers", "tiny").replace('"', "")
        + "\n"
    )
    code = (
        "import sys\n"
        "from spach_nas.space.mixers import get_mixer, legal_option\n"
        "get_mixer('conv')\n"
        "print('tiny' in sys.modules)\n"  # nothing is looked for before it is needed
        "print({asked}, 'torch' in sys.modules)\n"
    )
    for asked, expected in (
        ("get_mixer('tiny').short", "ti"),
        ("legal_option('tiny_size', 2)", "2"),
        ("'tiny' in __import__('spach_nas.space.mixers').space.mixers.mixer_names()", "True"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code.format(asked=asked)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(spach_nas.__file__).parents[1]}"},
        )
        assert done.stdout.split() == ["False", expected, "False"]


def test_a_mixer_of_the_running_script_is_refused_before_ray_starts(example: Path) -> None:
    from spach_nas.config.plugins import shipped_modules
    from spach_nas.space.mixers import MixerSpec

    spec = MixerSpec(
        name="mine", short="m", cost=lambda site: MixerCost(0, 0, 0), module="__main__:Mine"
    )
    with pytest.raises(PluginError, match="'mine': is defined in the script that runs"):
        shipped_modules([spec])


def test_another_process_knows_what_it_is_sent(
    example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_plugins(["my_mixers"])
    sent = plugin_mixers(["conv", "pool", "shift", "pool"])
    assert [spec.name for spec in sent] == ["pool", "shift"]
    # A function without a name travels by value: nothing is imported when it arrives.
    sent = (*sent, replace(sent[0], name="more", cost=lambda site: MixerCost(0, 0, 0)))
    forget(monkeypatch)
    monkeypatch.syspath_prepend(str(example))
    restore([replace(spec, cost=sent[2].cost) for spec in sent])
    assert {"pool", "shift", "more"} <= set(MIXERS)
    # The network imports the class later: its module must not clash with what was sent.
    import_module("my_mixers")

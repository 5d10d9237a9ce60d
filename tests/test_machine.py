"""Cores and memory that a process may use."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spach_nas import machine

Tree = Callable[[dict[str, str]], None]
GIB = 2**30


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Makes files of `proc` and of the control groups."""
    monkeypatch.setattr(machine, "SYSTEM", tmp_path / "proc")
    monkeypatch.setattr(machine, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)

    def make(files: dict[str, str]) -> None:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")

    return make


V1 = "4:memory:/job\n2:cpu,cpuacct:/job/step\n1:name=systemd:/\n0::/"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 16),
        ({"proc/self/cgroup": "0::/", "groups/cpu.max": "max 100000"}, 16),
        ({"proc/self/cgroup": "0::/", "groups/cpu.max": "350000 100000"}, 3),
        ({"proc/self/cgroup": "0::/", "groups/cpu.max": "20000 100000"}, 1),
        # The outer group has less than the inner one.
        (
            {
                "proc/self/cgroup": "0::/job/step",
                "groups/job/cpu.max": "200000 100000",
                "groups/job/step/cpu.max": "400000 100000",
            },
            2,
        ),
        # As a container sees it: the path is that of the host.
        ({"proc/self/cgroup": "0::/docker/1f", "groups/cpu.max": "400000 100000"}, 4),
        (
            {
                "proc/self/cgroup": V1,
                "groups/cpu,cpuacct/job/step/cpu.cfs_quota_us": "500000",
                "groups/cpu,cpuacct/job/step/cpu.cfs_period_us": "100000",
                "groups/cpu,cpuacct/job/cpu.cfs_quota_us": "-1",
                "groups/cpu,cpuacct/job/cpu.cfs_period_us": "100000",
            },
            5,
        ),
        ({"proc/self/cgroup": "0::/", "groups/cpu.max": "9900000 100000"}, 16),
    ],
    ids=["none", "no quota", "v2", "a fifth", "outer", "container", "v1", "more than there are"],
)
def test_cores_are_the_smaller_of_affinity_and_quota(
    tree: Tree, files: dict[str, str], cores: int
) -> None:
    tree(files)
    assert machine.cores() == cores


def test_a_system_without_affinity_has_the_cores_of_the_machine(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert machine.cores() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.cores() == 1


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, None),
        ({"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    8388608 kB"}, 8 * GIB),
        (
            {
                "proc/meminfo": "MemAvailable: 8388608 kB",
                "proc/self/cgroup": "0::/",
                "groups/memory.max": f"{4 * GIB}",
                "groups/memory.current": f"{3 * GIB}",
                "groups/memory.stat": f"anon 1\ninactive_file {GIB}",
            },
            2 * GIB,
        ),
        (
            {
                "proc/meminfo": "MemAvailable: 8388608 kB",
                "proc/self/cgroup": V1,
                "groups/memory/job/memory.limit_in_bytes": f"{4 * GIB}",
                "groups/memory/job/memory.usage_in_bytes": f"{3 * GIB}",
                "groups/memory/memory.limit_in_bytes": "9223372036854771712",
                "groups/memory/memory.usage_in_bytes": f"{7 * GIB}",
            },
            GIB,
        ),
        (
            {
                "proc/self/cgroup": "0::/",
                "groups/memory.max": "max",
                "groups/memory.current": f"{GIB}",
            },
            None,
        ),
    ],
    ids=["unknown", "no group", "v2", "v1", "no limit"],
)
def test_free_memory_is_the_smallest_of_machine_and_groups(
    tree: Tree, files: dict[str, str], free: int | None
) -> None:
    tree(files)
    assert machine.available_memory() == free


def test_this_machine_says_what_it_has() -> None:
    assert 1 <= machine.cores() <= (os.cpu_count() or 1)
    available = machine.available_memory()
    assert available is None or 1e6 < available < 1e15


def test_the_address_space_is_that_of_ulimit() -> None:
    code = "from spach_nas.machine import address_space; print(address_space())"
    for limit, expected in (("unlimited", "None"), ("4000000", str(4_000_000 * 1024))):
        command = ["bash", "-c", f"ulimit -v {limit}; exec {sys.executable} -c '{code}'"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected

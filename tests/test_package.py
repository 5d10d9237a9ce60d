import subprocess
import sys

import pytest

import spach_nas


def run_script(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_import_is_light() -> None:
    heavy = "{'torch', 'ray', 'optuna', 'plotly', 'numpy', 'pydantic', 'timm'} & set(sys.modules)"
    assert run_script(f"import sys, spach_nas; print({heavy})") == "set()"


@pytest.mark.parametrize("name", spach_nas.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(spach_nas, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        _ = spach_nas.serach


@pytest.mark.parametrize("order", ["spach_nas, timm", "timm, spach_nas", "timm.models, spach_nas"])
def test_timm_knows_our_networks_in_any_order_of_imports(order: str) -> None:
    script = f"import {order}; import timm; print(timm.is_model('spach_hybrid_ms_s_plus'))"
    assert run_script(script) == "True"

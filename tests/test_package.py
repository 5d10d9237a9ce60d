import subprocess
import sys

import pytest

import spach_nas
from effort import some_or_all, thorough


def run_script(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
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


ORDERS = {
    "ours first": "import spach_nas, timm",
    "timm first": "import timm, spach_nas",
    "its models first": "import timm.models, spach_nas, timm",
    "networks first": "import spach_nas.networks, timm",
    "from a hook": """
import wrapt, importlib
hook = lambda module: importlib.import_module('spach_nas.networks')
wrapt.register_post_import_hook(hook, 'timm.models')
import timm
""",
}
# Torch, which takes longest, is imported once for all of them.
IN_ORDER = """
import os, torch, torchvision
for name, order in {orders}.items():
    if not os.fork():
        exec(order)
        print(name, timm.is_model('spach_conv_xxs'), timm.is_model('resnet18'), flush=True)
        os._exit(0)
    os.wait()
"""


@thorough
def test_timm_knows_our_networks_in_any_order_of_imports() -> None:
    orders = some_or_all({"from a hook": ORDERS["from a hook"]}, ORDERS)
    printed = run_script(IN_ORDER.format(orders=orders))
    assert printed.splitlines() == [f"{name} True True" for name in orders]

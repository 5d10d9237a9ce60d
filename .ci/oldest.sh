#!/usr/bin/env bash
# A few tests of each part with the oldest versions that pyproject.toml promises, laid over the
# environment of the caller. torch, torchvision and ray are too large for that and stay as they are.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip install --quiet --disable-pip-version-check --no-deps --target "$work" -r .ci/oldest.txt
rm -f "$work/conftest.py"  # one of them leaves its own there
PYTHONPATH="$work" python -m pytest -n 0 -q -p no:cacheprovider \
    tests/test_package.py tests/published/test_oldest.py tests/test_units.py tests/config/test_config.py \
    tests/study/test_pareto.py tests/study/test_study.py tests/samplers/test_sampler_factories.py \
    tests/networks/test_networks_cost.py tests/networks/test_networks_timm.py tests/report/test_report_figures.py \
    tests/export/test_export_onnx.py tests/test_python_api.py

"""Writes the five networks that are compared to `networks/`, as architecture files.

    python networks.py

Four have the paper's layouts, with as equal a cost as they allow; `best` has the highest validation
accuracy in the table of `../spach_bench` among those that cost at most what the dearest of the four
does. All are brought to 32 px and an eighth of the width, as the table's proxies are, and not made
shallower.
"""

from dataclasses import replace
from pathlib import Path

from spach_nas.config.objectives import OBJECTIVES
from spach_nas.config.search_yaml import load_config
from spach_nas.cost.closed_form import cost
from spach_nas.replay import read_benchmark
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import get_reference
from spach_nas.space.scaling import DataShape, scale

HERE = Path(__file__).parent
TABLE = HERE.parent / "spach_bench"
RULE = replace(load_config(TABLE / "search.yaml").proxy, depth_scale=1.0)
SHAPE = DataShape(in_channels=1, num_classes=10)


def main() -> None:
    """Write five files and print what they cost."""
    targets = of_the_paper()
    most = max(cost(target).macs for target in targets.values())
    targets = {"best": best_of_the_table(most), **targets}
    (HERE / "networks").mkdir(exist_ok=True)
    print("| network | MACs, G | params, M | as trained: MACs, M | params, k |")
    print(f"|{'---|' * 5}")
    for name, target in targets.items():
        network = scale(target, RULE, SHAPE)
        (HERE / "networks" / f"{name}.yaml").write_text(network.to_yaml(), encoding="utf-8")
        at_size, trained = cost(target), cost(network)
        print(
            f"| {name} | {at_size.macs / 1e9:.2f} | {at_size.params / 1e6:.1f} "
            f"| {trained.macs / 1e6:.2f} | {trained.params / 1e3:.0f} |"
        )


def of_the_paper() -> dict[str, Architecture]:
    """Hybrid-MS-S+ in the width that costs what the pure networks of size S do, and these."""
    hybrid = get_reference("hybrid_ms_s_plus").architecture
    stages = tuple(
        replace(stage, width=stage.width * 96 // 128, heads=stage.heads * 96 // 128)
        for stage in hybrid.stages
    )
    return {
        "hybrid": replace(hybrid, stages=stages),
        "conv": get_reference("conv_ms_s").architecture,
        "attention": get_reference("trans_ms_s").architecture,
        "mlp": get_reference("mlp_ms_s").architecture,
    }


def best_of_the_table(most_macs: int) -> Architecture:
    """The highest mean validation accuracy at the last epoch, within the cost."""
    within = [e for e in read_benchmark([TABLE]).front if e.target_cost.macs <= most_macs]
    return max(within, key=lambda entry: entry.value(OBJECTIVES["accuracy"])).architecture


if __name__ == "__main__":
    main()

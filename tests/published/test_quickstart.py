"""The quickstart's work is bounded: seconds differ from machine to machine, operations do not."""

from statistics import mean

from spach_nas.config.search_yaml import load_config
from spach_nas.config.shipped import shipped_folder
from spach_nas.cost.closed_form import cost
from spach_nas.feasible import FeasibleSet
from spach_nas.space.references import get_reference
from spach_nas.space.scaling import DataShape, scale

CONFIG = load_config(shipped_folder() / "quickstart.yaml")
DATA = DataShape(in_channels=1, num_classes=10)
TRAINED, VALIDATED = 6_400, 1_600  # of the 8,000 images, a fifth validates


def training_flops() -> float:
    """FLOPs of all trainings, by candidates as uniform draws from the feasible set."""
    feasible = FeasibleSet(CONFIG.space, CONFIG.limits)
    proxies = [scale(target, CONFIG.proxy, DATA) for target in feasible.samples(200, 0)]
    papers = [
        scale(get_reference(name).architecture, CONFIG.proxy, DATA) for name in CONFIG.references
    ]
    macs = CONFIG.search.trials * mean(cost(proxy).macs for proxy in proxies)
    macs += sum(cost(proxy).macs for proxy in papers)
    training = CONFIG.training
    steps = int(TRAINED * training.data_share) // training.batch_size
    # Forward and backward are three times the forward pass; an epoch ends with a validation.
    passes = training.epochs * (3 * steps * training.batch_size + VALIDATED)
    return 2 * macs * passes


def test_the_quickstart_takes_at_most_two_teraflops_of_training() -> None:
    assert 1e12 < training_flops() < 2e12


def test_the_quickstart_ends_by_its_trials() -> None:
    # At 20 GFLOP/s, a third of what slow cores reach and far below what this work needs.
    assert CONFIG.search.max_duration is not None
    assert CONFIG.search.max_duration > 2 * training_flops() / 20e9


def test_the_papers_hybrid_of_this_budget_takes_part() -> None:
    assert "hybrid_ms_xs" in CONFIG.references
    figures = cost(get_reference("hybrid_ms_xs").architecture)
    assert CONFIG.limits.allow(figures)
    assert not CONFIG.limits.allow(cost(get_reference("conv_ms_s").architecture))

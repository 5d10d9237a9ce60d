"""Searches spach_bench with a first rung by `inherit`, really trained, by some seeds.

    python inherit.py 0 1

A candidate is first trained for one epoch of a quarter of the images, from the weights of the
nearest network that the study keeps; one in five is then trained cold. One worker, in this process;
the search ends after `BUDGET` processor seconds, and goes on from `/tmp/front_cost` if interrupted.
Writes `scores/inherit_SEED.csv`: a row for each evaluation, in their order.
"""

import argparse
import csv
import time
from dataclasses import replace
from pathlib import Path

from spach_nas.config.evaluation import EvaluationRequest
from spach_nas.config.evaluator_registry import choose_evaluator
from spach_nas.config.search_settings import Level, Rungs
from spach_nas.config.search_yaml import load_config
from spach_nas.evaluators.interface import make_evaluator
from spach_nas.replay import VirtualClock
from spach_nas.search.plan import plan_search
from spach_nas.search.run import prepare_folder
from spach_nas.study.driver import StudyDriver
from spach_nas.study.records import read_records

HERE = Path(__file__).parent
BENCH = HERE.parent / "spach_bench"
KEPT = Path("/tmp/front_cost")
BUDGET = 1500.0


def main() -> None:
    """Search, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="+")
    KEPT.mkdir(exist_ok=True)
    (HERE / "scores").mkdir(exist_ok=True)
    for seed in parser.parse_args().seeds:
        one(seed)


def one(seed: int) -> None:
    """A search; its evaluations are written after each of them."""
    config = load_config(BENCH / "search.yaml")
    level = Level(evaluator=choose_evaluator("inherit"), epochs=1, data_share=0.25)
    config = replace(
        config,
        study=f"inherit_{seed}",
        references=(),
        rungs=Rungs(levels=(level,), reduction=5),
        search=replace(config.search, sampler="tpe", trials=270, seed=seed, max_duration=BUDGET),
        # Cold trainings are then those of the table's first seed.
        training=replace(config.training, seed=0),
    )
    folder = KEPT / config.study
    plan = plan_search(config, out=folder, resume=folder.exists())
    prepare_folder(plan, folder, resume=folder.exists())
    clock = VirtualClock()
    study = StudyDriver(
        plan.config,
        folder=folder,
        data=plan.preprocessing.data_shape,
        feasible=plan.feasible,
        records=read_records(folder),
        mirrored=False,
        clock=clock,
    )
    evaluator = make_evaluator(plan.config, folder=folder)
    while isinstance(request := study.next(), EvaluationRequest):
        checkpoint = None if request.parent is None else request.parent.read_bytes()
        started = time.process_time()
        evaluation = evaluator(
            request, plan.splits[request.fidelity.image_size], checkpoint=checkpoint
        )
        spent = time.process_time() - started
        clock.now += spent
        record = study.tell(request, replace(evaluation, seconds=spent))
        print(seed, round(study.elapsed), record.fidelity.rung, record.objectives, flush=True)
        write(seed, study)
    study.close()


def write(seed: int, study: StudyDriver) -> None:
    """All evaluations so far."""
    with (HERE / "scores" / f"inherit_{seed}.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["arch_id", "rung", "accuracy", "loss", "seconds", "ended", "remark"])
        for one in study.records:
            scores = (f"{one.objectives['accuracy']:.6f}", f"{one.curve[-1].loss:.6f}")
            times = f"{one.seconds:.2f}", f"{one.started + one.seconds:.2f}"
            writer.writerow([one.arch_id, one.fidelity.rung, *scores, *times, one.remark or ""])


if __name__ == "__main__":
    main()

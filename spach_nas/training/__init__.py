"""Training of one network: steps, courses, number formats, checkpoints, scores."""

from spach_nas.training.checkpoint import (
    CheckpointError,
    Origin,
    TrainingState,
    network_weights,
    pack,
    unpack,
)
from spach_nas.training.course import TrainingResult, train
from spach_nas.training.device import (
    ProductRates,
    Runtime,
    choose_runtime,
    cpu_rates,
    format_warning,
    move,
    threads,
)
from spach_nas.training.scoring import predict, score, score_images
from spach_nas.training.seeds import global_seed

__all__ = [
    "CheckpointError",
    "Origin",
    "ProductRates",
    "Runtime",
    "TrainingResult",
    "TrainingState",
    "choose_runtime",
    "cpu_rates",
    "format_warning",
    "global_seed",
    "move",
    "network_weights",
    "pack",
    "predict",
    "score",
    "score_images",
    "threads",
    "train",
    "unpack",
]

"""Training of one network on images in memory."""

from spach_nas.training.checkpoint import CheckpointError, Origin, network_weights, pack, unpack
from spach_nas.training.device import Runtime, choose_runtime, move, threads
from spach_nas.training.formats import (
    ProductRates,
    cpu_rates,
    format_warning,
)
from spach_nas.training.loop import TrainingResult, TrainingState, train
from spach_nas.training.precision import faster_precision
from spach_nas.training.predict import predict, score, score_images
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
    "faster_precision",
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

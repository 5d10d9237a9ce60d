"""Training of one network on images in memory."""

from spach_nas.training.device import Runtime, choose_runtime, move, threads
from spach_nas.training.loop import TrainingResult, global_seed, train
from spach_nas.training.precision import faster_precision
from spach_nas.training.predict import predict, score, score_images

__all__ = [
    "Runtime",
    "TrainingResult",
    "choose_runtime",
    "faster_precision",
    "global_seed",
    "move",
    "predict",
    "score",
    "score_images",
    "threads",
    "train",
]

"""Proxy training: build the small copy of a candidate, train it, score it."""

import time
from dataclasses import dataclass, replace

import torch
from safetensors.torch import save
from torch import nn

from spach_nas.data import DataSplits
from spach_nas.evaluation import Evaluation, EvaluationRequest
from spach_nas.networks import build
from spach_nas.networks.allocator import keep_freed_memory
from spach_nas.settings import TrainingSettings
from spach_nas.training import Runtime, choose_runtime, global_seed, move, threads, train

# A process that has seen one cannot use its device again. Older releases of torch do not tell it
# from other errors.
_LOST_DEVICE: type[Exception] | tuple[()] = getattr(torch, "AcceleratorError", ())


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxyEvaluator:
    """Scores a request by training its proxy: `evaluator(request, splits)`.

    Attributes:
        settings: The protocol, the same for all candidates.
        threads: Threads of the host; more than its cores make a run many times slower.
    """

    settings: TrainingSettings
    threads: int = 1

    def __call__(self, request: EvaluationRequest, data: DataSplits) -> Evaluation:
        """Accuracy and loss on the validation part after the last epoch.

        What a candidate does wrong comes back as a failed evaluation.

        Args:
            request: What to train, how long, by which seed.
            data: Images at the size of the fidelity.

        Raises:
            ConfigError: This machine has no such device.
            torch.AcceleratorError: The device is lost for this process, which has to be restarted.
        """
        assert request.parent is None, "a proxy is trained from the start"
        runtime = choose_runtime(device=self.settings.device, precision=self.settings.precision)
        keep_freed_memory()
        started = time.perf_counter()
        with threads(self.threads):
            evaluation = _guarded(request, data, self.settings, runtime)
        return replace(
            evaluation,
            seconds=time.perf_counter() - started,
            device=runtime.device.type,
            threads=self.threads,
        )


def _guarded(
    request: EvaluationRequest, data: DataSplits, settings: TrainingSettings, runtime: Runtime
) -> Evaluation:
    try:
        return _evaluate(request, data, settings, runtime)
    except (torch.OutOfMemoryError, MemoryError):
        reason = f"out of memory on {runtime.device.type}"
    except _LOST_DEVICE:
        raise
    # A mixer of a user's may raise anything.
    except Exception as problem:
        text = " ".join(str(problem).split())
        reason = f"{type(problem).__name__}: {text}" if text else type(problem).__name__
    if runtime.device.type == "cuda":
        torch.cuda.empty_cache()
    return Evaluation(state="failed", reason=reason)


def _evaluate(
    request: EvaluationRequest, data: DataSplits, settings: TrainingSettings, runtime: Runtime
) -> Evaluation:
    with global_seed(request.seed, runtime):
        network = move(build(request.proxy, drop_path_rate=settings.drop_path_rate), runtime)
    run = train(
        network,
        data,
        settings=settings,
        fidelity=request.fidelity,
        seed=request.seed,
        runtime=runtime,
    )
    if run.diverged:
        return Evaluation(state="failed", curve=run.curve, reason=run.diverged)
    last = run.curve[-1]
    return Evaluation(
        state="complete",
        scores={"accuracy": last.accuracy, "loss": last.loss},
        curve=run.curve,
        weights=weights_of(network),
    )


def weights_of(network: nn.Module) -> bytes:
    """The state of a network as safetensors: contiguous, on the CPU, without shared memory."""
    return save(
        {
            name: tensor.detach().to("cpu", copy=True).contiguous()
            for name, tensor in network.state_dict().items()
        }
    )

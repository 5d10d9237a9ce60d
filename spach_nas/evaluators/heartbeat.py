"""Progress messages over UDP, from workers that train to the driver of the search.

They are for display only. Nothing waits for one: if one is lost, or a network blocks them all, the
display is less current; no record, proposal or score depends on them.
"""

import contextlib
import json
import math
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

LOOPBACK = "127.0.0.1"
_LONGEST = 1024
# Between two looks whether to end.
_TICK_S = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulse:
    """How far one training is.

    Attributes:
        trial: Number of the trial.
        rung: Of its fidelity.
        epochs: Epochs of the course that are done, with a fraction for the one that runs.
        first: Those that were done before this run began.
        last: Those after which it ends.
        images_per_second: Trained in this run; 0 before the first step.
    """

    trial: int
    rung: int
    epochs: float
    first: int
    last: int
    images_per_second: float = 0.0

    @property
    def share(self) -> float:
        """Of this run that is done, in [0, 1]."""
        if self.last <= self.first:
            return 1.0
        return min(1.0, max(0.0, (self.epochs - self.first) / (self.last - self.first)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """An evaluation on its way.

    Attributes:
        trial: Number of the trial.
        rung: Of its fidelity.
        since: Seconds of the search when it was asked for.
        pulse: What was heard of it last; None: nothing yet.
    """

    trial: int
    rung: int
    since: float
    pulse: Pulse | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PulseAddress:
    """Where pulses are sent to; goes to the workers.

    Attributes:
        host: Of the driver.
        port: Of UDP.
        token: Tells them from what others send.
    """

    host: str
    port: int
    token: str

    def send(self, pulse: Pulse) -> None:
        """Send without waiting; a failure is ignored."""
        text = json.dumps({"token": self.token, **asdict(pulse)}).encode()
        with contextlib.suppress(OSError), _socket(self.host) as sender:
            sender.setblocking(False)
            sender.sendto(text, (self.host, self.port))


@contextlib.contextmanager
def hearing(
    take: Callable[[Pulse], None], *, host: str = LOOPBACK
) -> Iterator[PulseAddress | None]:
    """Listen in a thread as long as the `with` block lasts; None where that is not possible.

    Args:
        take: Called with each pulse, in that thread.
        host: An address of this machine that the workers reach.
    """
    with contextlib.ExitStack() as stack:
        try:
            listener = stack.enter_context(_socket(host))
            listener.bind((host, 0))
            listener.settimeout(_TICK_S)
            address = PulseAddress(
                host=host, port=listener.getsockname()[1], token=secrets.token_hex(8)
            )
        except OSError:
            yield None
            return
        ended = threading.Event()
        thread = threading.Thread(
            target=_listen, args=(listener, address.token, take, ended), daemon=True
        )
        thread.start()
        stack.callback(thread.join)
        stack.callback(ended.set)
        yield address


def read_pulse(plain: Any) -> Pulse | None:
    """The pulse in plain data; None where it is damaged."""
    try:
        pulse = Pulse(
            trial=int(plain["trial"]),
            rung=int(plain["rung"]),
            epochs=float(plain["epochs"]),
            first=int(plain["first"]),
            last=int(plain["last"]),
            images_per_second=float(plain["images_per_second"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    finite = math.isfinite(pulse.epochs) and math.isfinite(pulse.images_per_second)
    return pulse if finite else None


def _socket(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)


def _listen(
    listener: socket.socket,
    token: str,
    take: Callable[[Pulse], None],
    ended: threading.Event,
) -> None:
    while not ended.is_set():
        try:
            text = listener.recv(_LONGEST)
        except TimeoutError:
            continue
        except OSError:
            return
        with contextlib.suppress(ValueError, RecursionError):
            plain = json.loads(text)
            known = isinstance(plain, dict) and plain.get("token") == token
            pulse = read_pulse(plain) if known else None
            if pulse is not None:
                take(pulse)

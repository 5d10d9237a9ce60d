import json
import queue
import socket
from dataclasses import asdict, replace

import pytest
from test_evaluators_proxy import at, timeless

from spach_nas.evaluators import ProxyEvaluator
from spach_nas.evaluators.heartbeat import LOOPBACK, Pulse, PulseAddress, hearing, read_pulse
from training_tools import DATA, SETTINGS, architecture

PULSE = Pulse(trial=3, rung=1, epochs=1.25, first=1, last=3, images_per_second=212.5)


def test_a_pulse_arrives_and_what_others_send_does_not() -> None:
    heard: queue.Queue[Pulse] = queue.Queue()
    with hearing(heard.put) as address:
        assert address is not None and address.host == LOOPBACK
        replace(address, token="another").send(PULSE)
        damaged = [b"\xff", b"[" * 1000, b"{}", json.dumps({"token": address.token}).encode()]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            for text in damaged:
                other.sendto(text, (address.host, address.port))
        address.send(PULSE)
        # One after the other on one machine: all that came before was passed over.
        assert heard.get(timeout=30) == PULSE
        assert heard.empty()


def test_nobody_who_hears_hurts_nobody() -> None:
    PulseAddress(host=LOOPBACK, port=9, token="").send(PULSE)
    PulseAddress(host="no such host.invalid", port=9, token="").send(PULSE)
    with hearing(lambda _: None, host="192.0.2.1") as address:  # no address of this machine
        assert address is None


@pytest.mark.parametrize(
    "change",
    [
        {"trial": "x"},
        {"epochs": float("nan")},
        {"images_per_second": float("inf")},
        {"last": None},
        {"rung": float("inf")},
    ],
)
def test_a_damaged_pulse_is_passed_over(change: dict[str, object]) -> None:
    assert read_pulse(asdict(PULSE)) == PULSE
    assert read_pulse(asdict(PULSE) | change) is None


def test_a_share_is_that_of_this_run() -> None:
    assert PULSE.share == pytest.approx(0.125)
    assert replace(PULSE, epochs=9.0).share == 1.0
    assert replace(PULSE, first=3).share == 1.0


def test_a_training_tells_how_far_it_is_and_comes_to_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[Pulse] = []
    monkeypatch.setattr(PulseAddress, "send", lambda _, pulse: sent.append(pulse))
    monkeypatch.setattr("spach_nas.evaluators.proxy.PULSE_SECONDS", 0.0)
    proxy = architecture("conv")
    first = ProxyEvaluator(settings=SETTINGS)(at(0, proxy), DATA)
    asked = replace(at(1, proxy), trial=7)
    quiet = ProxyEvaluator(settings=SETTINGS)(asked, DATA, checkpoint=first.weights)
    told = ProxyEvaluator(settings=SETTINGS, pulses=PulseAddress(host="", port=0, token=""))
    assert timeless(told(asked, DATA, checkpoint=first.weights)) == timeless(quiet)
    begin, end = asked.course[0].epochs, asked.fidelity.epochs
    # One before the first step, then one for each.
    steps = max(1, len(DATA.train) // 2 // SETTINGS.batch_size)
    assert len(sent) == 1 + steps * (end - begin)
    assert [item.epochs for item in sent] == sorted(item.epochs for item in sent)
    assert (sent[0].epochs, sent[0].images_per_second) == (begin, 0.0)
    assert (sent[-1].epochs, sent[-1].share) == (end, 1.0)
    assert all(
        (item.trial, item.rung, item.first, item.last) == (7, 1, begin, end) for item in sent
    )
    assert all(item.images_per_second > 0 for item in sent[1:])

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from subprocess import Popen

import pytest

from affect.stop_signals import STOP_SIGNALS, Interruption, StopSignals, ignore_stop_signals


def exit_status(function: Callable[[], None], *signals: int, pause: float = 0.0, deferring: bool = False) -> int | None:
    """Run a function in a fork, send it signals as soon as it listens or defers, and give its exit status."""
    context = multiprocessing.get_context("fork")
    listening = context.Event()

    def run() -> None:
        with STOP_SIGNALS.listen():
            try:
                if deferring:
                    STOP_SIGNALS.defer()
                listening.set()
                function()
            except Interruption as interruption:
                os._exit(interruption.exit_status)
        os._exit(0)

    process = context.Process(target=run)
    process.start()
    assert listening.wait(60)
    for number in signals:
        os.kill(process.pid or 0, number)
        time.sleep(pause)
    process.join(60)
    return process.exitcode


def wait() -> None:
    time.sleep(60)


def deferred() -> None:
    STOP_SIGNALS.defer()
    while STOP_SIGNALS.number is None:
        time.sleep(0.01)
    STOP_SIGNALS.check()


def deaf() -> None:
    while True:
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("function", [wait, deferred])
def test_a_stopped_process_exits_with_the_shells_status(function: Callable[[], None], number: int, status: int) -> None:
    assert exit_status(function, number) == status


def test_a_second_signal_ends_at_once(capfd: pytest.CaptureFixture) -> None:
    assert exit_status(deaf, signal.SIGINT, signal.SIGINT, pause=0.2, deferring=True) == 130
    assert capfd.readouterr().err.endswith("second signal stops at once\n\nstopped at once\n")


def test_signals_taken_outside_the_block_interrupt_at_once() -> None:
    signals = StopSignals()
    signals.check()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signals.install()
    try:
        with pytest.raises(Interruption) as caught:
            signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert caught.value.args == (signal.SIGTERM,)


def test_a_terminal_gets_its_cursor_back(capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    signals = StopSignals()
    with signals.listen():
        signals.defer()
        monkeypatch.setattr("sys.stderr.isatty", lambda: True)
        signal.raise_signal(signal.SIGINT)
    assert capfd.readouterr().err.startswith("\x1b[?25h\nSIGINT: stopping")


def test_a_closed_terminal_does_not_keep_a_signal_from_being_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, content: bytes) -> int:
        raise BrokenPipeError

    signals = StopSignals()
    with signals.listen():
        signals.defer()
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", refuse)
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interruption):
            signals.check()


def test_an_interruption_that_a_library_swallows_is_raised_later() -> None:
    signals = StopSignals()
    with signals.listen():
        with pytest.raises(Interruption):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interruption) as caught:
            signals.check()
    assert (caught.value.name, caught.value.exit_status) == ("SIGTERM", 143)
    signals.check()  # a new command starts afresh


def test_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    signals = StopSignals()
    with signals.listen():
        assert signals.is_listening
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a library takes it
        signals.install()
        assert signal.getsignal(signal.SIGTERM) not in before
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_forked_workers_leave_ctrl_c_to_the_main_process() -> None:
    def fork_and_signal() -> None:
        for prepare in (lambda: None, ignore_stop_signals):
            child = os.fork()
            if not child:
                prepare()
                os.kill(os.getpid(), signal.SIGINT)
                os._exit(7)
            assert os.waitpid(child, 0)[1] == 7 << 8

    assert exit_status(fork_and_signal) == 0


def test_a_forked_worker_ends_by_sigterm_unless_it_ignores_it() -> None:
    def fork_and_signal() -> None:
        for prepare, status in ((lambda: None, signal.SIGTERM), (ignore_stop_signals, 7 << 8)):
            child = os.fork()
            if not child:
                prepare()
                os.kill(os.getpid(), signal.SIGTERM)
                os._exit(7)
            assert os.waitpid(child, 0)[1] == status

    assert exit_status(fork_and_signal) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_processes_of_the_same_run_are_stopped_by_sigterm(number: int) -> None:
    signals = StopSignals()
    with signals.listen(), Popen(["sleep", "60"]) as child:
        signals.children.append(child)
        with pytest.raises(Interruption):
            signal.raise_signal(number)
        assert child.wait(10) == -signal.SIGTERM
    with signals.listen():
        assert signals.children == []


def test_a_deferred_signal_is_announced_and_waits_for_the_check(capfd: pytest.CaptureFixture) -> None:
    signals = StopSignals()
    with signals.listen():
        signals.check()
        signals.defer()
        signal.raise_signal(signal.SIGTERM)
        assert signals.number == signal.SIGTERM
        with pytest.raises(Interruption):
            signals.check()
    message = "\nSIGTERM: stopping after the current step; a second signal stops at once\n"
    assert capfd.readouterr().err == message
    with signals.listen():
        signals.defer()
        signals.undefer()
        with pytest.raises(Interruption):
            signal.raise_signal(signal.SIGINT)


def test_a_process_started_by_another_leaves_messages_and_further_signals_to_it(
    capfd: pytest.CaptureFixture,
) -> None:
    signals = StopSignals()
    signals.is_child = True
    with signals.listen():
        signals.defer()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)  # would end a process that is no child
        assert signals.number == signal.SIGTERM
    assert capfd.readouterr().err == ""


def test_outside_the_main_thread_nothing_is_handled() -> None:
    before = signal.getsignal(signal.SIGINT)
    signals = StopSignals()
    seen: list[object] = []

    def listen() -> None:
        with signals.listen():
            seen.extend([signal.getsignal(signal.SIGINT), signals.is_listening])

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [before, False]
    assert not signals.is_listening

"""How commands end when they, or processes that they started, are told to or are killed: one sentence, at once, and a code."""

import os
import platform
import signal
import subprocess
import sys
import time

import mlflow
import pytest

from figment.errors import InputError
from figment.ops import tracking
from figment.ops.environment import ROOT
from figment.training.processes import run_together
from tests.faults.dying import killed_in_the_middle

PATIENCE = 300  # seconds; for machines that have other things to do
ENDED = """
import os, signal, subprocess, sys, time
from figment.ops.endings import ended

def sleep():
    print("started", flush=True)
    time.sleep(600)

def wait_in_cleanup():
    try:
        sleep()
    finally:
        print("cleaning", flush=True)
        time.sleep(600)

def with_a_child():
    try:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print("started", child.pid, sep="\\n", flush=True)
        time.sleep(600)
    finally:
        print("cleaning", flush=True)
        time.sleep(600)

def wrapped():
    try:
        sleep()
    except BaseException as error:
        raise RuntimeError("a library failed") from error

def no_disk():
    print("started", flush=True)
    raise RuntimeError("a library failed") from OSError(28, "No space left on device", "shard.parquet")

def data_process():
    print("started", flush=True)
    raise RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. ")

if sys.argv[2] == "nohup":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.exit(ended(lambda: (print("started", flush=True), time.sleep(1))))
sys.exit(ended(globals()[sys.argv[1]]))
"""
SIGINT, SIGTERM, SIGHUP = "SIGINT", "SIGTERM", "SIGHUP"


def begin(work: str, how: str = "") -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", ENDED, work, how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in (2, 15, 1)],
    )  # fmt: skip
    assert process.stdout.readline() == "started\n"
    return process


def ended_with(process: subprocess.Popen) -> tuple[int, list[str]]:
    said = process.communicate(timeout=PATIENCE)[1]
    return process.returncode, [line for line in said.splitlines() if line]


@pytest.mark.parametrize("work", ["sleep", "wrapped"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        (SIGINT, "interrupted; run the same command again to resume"),
        (SIGTERM, "stopped by SIGTERM; run the same command again to resume"),
        (SIGHUP, "stopped by SIGHUP, as when a terminal closes; run the same command again to resume"),
    ],
)
def test_a_signal_is_one_sentence_and_its_number(name, said, work):
    """Also where a library makes an error of its own of the interrupt."""
    process = begin(work)
    process.send_signal(signal.Signals[name])
    assert ended_with(process) == (128 + signal.Signals[name], [said])


@pytest.mark.parametrize("second", [SIGINT, SIGTERM, SIGHUP])
@pytest.mark.parametrize("first", [SIGINT, SIGTERM])
def test_the_second_signal_ends_at_once_what_cleans_up(first, second):
    process = begin("wait_in_cleanup")
    process.send_signal(signal.Signals[first])
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(signal.Signals[second])
    code, lines = ended_with(process)
    assert code == 128 + signal.Signals[second]
    assert len(lines) == 1
    assert "again: ended at once; run the same command again" in lines[0]


def test_the_second_signal_ends_the_processes_that_were_started():
    process = begin("with_a_child")
    child = int(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(signal.SIGINT)
    assert ended_with(process)[0] == 130
    deadline = time.monotonic() + PATIENCE
    while is_alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{number}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


def test_what_was_started_to_outlive_its_terminal_does():
    process = begin("", "nohup")
    process.send_signal(signal.SIGHUP)
    assert ended_with(process) == (0, [])


@pytest.mark.parametrize(
    ("work", "said"),
    [
        ("no_disk", "error: shard.parquet: No space left on device; free some space and run the same command"),
        ("data_process", "error: a process that reads training data was ended by SIGKILL, most likely because memory"),
    ],
)
def test_a_fault_of_the_machine_is_one_sentence_however_wrapped(work, said):
    code, lines = ended_with(begin(work))
    assert (code, len(lines)) == (2, 1)
    assert lines[0].startswith(said)


# --- processes that a run starts ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_training_process_is_told_at_once():
    with pytest.raises(InputError) as told:
        run_together(2, "cpu", killed_in_the_middle, [int(signal.SIGKILL)])
    said = "training process 2 of 2 was ended by SIGKILL, most likely because memory ran out; lower training.batch_size"
    assert str(told.value).startswith(said)


# --- what MLflow shows ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """An experiment in a database of its own."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('tracked')}/mlflow.db"
    tracking.ensure_experiment("tried", uri)
    return uri


@pytest.fixture
def step(tracked):
    """Begins a step in the run that is under way, tracked or not, and ends it as ZenML does."""
    mlflow.set_tracking_uri(tracked)
    begun = []

    def one(is_tracked: bool) -> str:
        if is_tracked:
            experiment = mlflow.get_experiment_by_name("tried").experiment_id
            run = mlflow.start_run(begun[0] if begun else None, experiment_id=experiment, log_system_metrics=False)
            begun[:] = [run.info.run_id]
        tracking.note_run()
        status = mlflow.get_run(begun[0]).info.status
        if is_tracked:
            mlflow.end_run("FINISHED")
        return status

    yield one, begun
    tracking.end_runs("FINISHED")


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
@pytest.mark.parametrize("last_is_tracked", [True, False])
def test_a_run_is_running_until_its_pipeline_ends_and_then_says_how(step, status, last_is_tracked):
    """Not finished, as ZenML has it after each tracked step."""
    one, begun = step
    assert [one(True), one(False), one(last_is_tracked)] == ["RUNNING"] * 3
    tracking.end_runs(status)
    assert mlflow.get_run(begun[0]).info.status == status


@pytest.mark.parametrize(
    ("process", "status"),
    [
        ("{host} 999999999 1.00", "KILLED"),
        ("{host} {own} 1.00", "KILLED"),  # its number is another process's now
        ("elsewhere 999999999 1.00", "RUNNING"),
        ("", "RUNNING"),  # of another program
        (None, "RUNNING"),  # this one's
    ],
)
def test_the_run_of_a_process_that_is_gone_is_killed(step, process, status):
    one, begun = step
    one(True)
    client = mlflow.MlflowClient()
    client.update_run(begun[0], status="RUNNING")
    if process is not None:
        client.set_tag(begun[0], tracking.PROCESS, process.format(host=platform.node(), own=os.getpid()))
    tracking.close_dead_runs("tried", mlflow.get_tracking_uri())
    assert mlflow.get_run(begun[0]).info.status == status

"""The device that computes, and GPUs shared out among the jobs of a machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from helpers.small_run import ROOT
from preprocess.running import device
from preprocess.running.cli import UserError
from preprocess.running.device import pick_device, pick_devices

# picks as a job on a machine with two GPUs does, says so, and keeps it until its input ends
JOB = """
import sys
from preprocess.running import device
device._has_cuda = lambda: True
device._gpu_names = lambda: ("GPU-a", "GPU-b")
print(device.pick_device("auto"), device.pick_device("auto"), flush=True)
sys.stdin.read()
"""


def start_job(tmp_path):
    job = subprocess.Popen(
        [sys.executable, "-c", JOB],
        cwd=ROOT,
        env={"PATH": "", "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return job, job.stdout.readline().split()


def test_names_of_devices():
    assert pick_device("cpu") == "cpu"
    with pytest.raises(UserError, match="allowed: auto, cpu, cuda"):
        pick_device("gpu")


def test_without_a_gpu_auto_is_the_cpu_and_cuda_a_mistake(monkeypatch):
    monkeypatch.setattr(device, "_has_cuda", lambda: False)
    assert pick_device("auto") == "cpu"
    with pytest.raises(UserError, match="PyTorch sees no CUDA GPU"):
        pick_device("cuda:1")


def test_jobs_side_by_side_take_one_gpu_each_which_is_free_again_when_they_are_killed(tmp_path):
    first, taken = start_job(tmp_path)
    second, other = start_job(tmp_path)
    third, none_left = start_job(tmp_path)
    assert taken == ["cuda:0", "cuda:0"], "a process keeps its GPU"
    assert other == ["cuda:1", "cuda:1"]
    assert none_left == ["cuda:0", "cuda:0"], "more jobs than GPUs share the first"
    first.kill()
    first.wait()
    fourth, freed = start_job(tmp_path)
    assert freed == ["cuda:0", "cuda:0"]
    second.kill()
    second.wait()
    fifth, freed = start_job(tmp_path)
    assert freed == ["cuda:1", "cuda:1"]
    for job in (third, fourth, fifth):
        job.communicate("")


def test_several_gpus_are_picked_at_once_and_never_more_than_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "_has_cuda", lambda: True)
    monkeypatch.setattr(device, "_gpu_names", lambda: ("GPU-a", "GPU-b", "GPU-c"))
    monkeypatch.setattr(device, "_taken", {})
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    other, taken = start_job(tmp_path)
    assert taken == ["cuda:0", "cuda:0"]
    assert pick_devices("auto", 2) == ("cuda:1", "cuda:2")
    assert pick_devices("cuda:2", 1) == ("cuda:2",)
    assert pick_devices("cpu", 2) == ("cpu",)
    with pytest.raises(UserError, match=r"gpus: found 4; this machine shows 3: GPU-a, GPU-b, GPU-c"):
        pick_devices("auto", 4)
    with pytest.raises(UserError, match="device 'cuda:1' is one GPU"):
        pick_devices("cuda:1", 2)
    other.communicate("")

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.small_run import ROOT
from preprocess.running.cli import UserError
from preprocess.store import atomic
from preprocess.store.atomic import atomic_path


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "results" / "file"
    with atomic_path(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(IsADirectoryError), atomic_path(path) as temporary:
        temporary.write_text("half") and path.parent.read_text()
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_results_are_readable_for_others(tmp_path):
    with atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_a_killed_writer_left_is_removed_by_the_next_of_that_file_alone(tmp_path):
    killed = tmp_path / ".table.parquet.k3_z0abc.partial"
    of_another = tmp_path / ".table.parquet.more.k3_z0abc.partial"
    for path in (killed, of_another):
        path.write_bytes(b"half of it")
    with atomic_path(tmp_path / "table.parquet") as temporary:
        temporary.write_bytes(b"whole")
        assert not killed.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [of_another.name, "table.parquet"]


def full_disc(*filename):
    return OSError(errno.ENOSPC, "No space left on device", *filename)


def test_what_the_system_refuses_is_told_with_the_file_and_the_way_out(tmp_path):
    path = tmp_path / "table.parquet"
    with pytest.raises(UserError, match=r"cannot write .*table\.parquet: .*free some space"), atomic_path(path):
        raise full_disc()
    with pytest.raises(UserError, match=r"cannot write .*table\.parquet"), atomic_path(path) as temporary:
        raise full_disc(str(temporary))
    # PyTorch raises an error of its own over that of the system
    with pytest.raises(UserError, match=r"cannot write .*table\.parquet"), atomic_path(path):
        raise RuntimeError("PytorchStreamWriter failed writing file") from full_disc()
    assert list(tmp_path.iterdir()) == []


def test_errors_of_something_else_pass(tmp_path):
    path = tmp_path / "table.parquet"
    with pytest.raises(OSError, match="No space left") as caught, atomic_path(path):
        raise full_disc(str(tmp_path / "another file"))
    assert caught.type is OSError
    with pytest.raises(RuntimeError, match="a bug"), atomic_path(path):
        raise RuntimeError("a bug")
    with pytest.raises(OSError, match="unknown"), atomic_path(path):
        raise OSError(errno.ENOMEM, "unknown to this module")


# --- who is writing ------------------------------------------------------------------------------------------------


def no_locks(*_):
    raise OSError(errno.ENOLCK, "No locks available")


def partial(folder, writer):
    path = folder / f".table.parquet.k3_z0abc{writer}.partial"
    path.write_bytes(b"half of it")
    return path


@pytest.mark.parametrize("lock", [atomic.fcntl.flock, no_locks])
def test_what_another_is_writing_stays_and_both_end_well(tmp_path, monkeypatch, lock):
    monkeypatch.setattr(atomic.fcntl, "flock", lock)
    path = tmp_path / "table.parquet"
    with atomic_path(path) as first:
        first.write_text("first")
        with atomic_path(path) as second:
            assert first.exists()
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("lock", [atomic.fcntl.flock, no_locks])
def test_what_a_writer_left_that_was_killed_is_removed(tmp_path, monkeypatch, lock):
    program = (
        "import sys, time\nfrom preprocess.store import atomic\n"
        "with atomic.atomic_path(sys.argv[1]) as temporary:\n    print(temporary, flush=True)\n    time.sleep(1000)"
    )
    path = tmp_path / "table.parquet"
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        left = Path(writer.stdout.readline().strip())
        monkeypatch.setattr(atomic.fcntl, "flock", lock)
        with atomic_path(path):
            assert left.exists()
        writer.kill()
    assert left.exists()
    with atomic_path(path):
        assert not left.exists()


def test_without_locks_a_writer_of_another_machine_is_given_a_day(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic.fcntl, "flock", no_locks)
    young, old, unnamed = partial(tmp_path, "-node7-7"), partial(tmp_path, "-node8-7"), partial(tmp_path, "")
    os.utime(old, (0, time.time() - 25 * 3600))
    os.utime(young, (0, time.time() - 23 * 3600))
    with atomic_path(tmp_path / "table.parquet"):
        assert (young.exists(), old.exists(), unnamed.exists()) == (True, False, True)


def test_without_locks_a_process_of_another_user_counts_as_alive(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(atomic.fcntl, "flock", no_locks)
    monkeypatch.setattr(atomic.os, "kill", refuse)
    left = partial(tmp_path, f"-{atomic._host()}-7")
    with atomic_path(tmp_path / "table.parquet"):
        assert left.exists()


def test_a_file_that_another_takes_for_a_stray_before_it_is_locked_is_made_anew(tmp_path, monkeypatch):
    lock, made = atomic._lock, []

    def removed_before(handle):
        made.append(Path(os.readlink(f"/proc/self/fd/{handle}")))
        if len(made) == 1:
            made[0].unlink()
        return len(made) != 2 and lock(handle)

    monkeypatch.setattr(atomic, "_lock", removed_before)
    with atomic_path(tmp_path / "table.parquet") as temporary:
        assert temporary == made[2]
        assert temporary.exists()


def test_no_descriptor_stays_open(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    partial(tmp_path, "")
    for _ in range(3):
        with atomic_path(tmp_path / "table.parquet"):
            pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_finished_file_is_free_though_a_child_has_it_open(tmp_path):
    path = tmp_path / "table.parquet"
    with atomic_path(path) as temporary:
        (own,) = [
            int(name)
            for name in os.listdir("/proc/self/fd")
            if os.path.realpath(f"/proc/self/fd/{name}") == str(temporary)
        ]
        inherited = os.dup(own)
    with open(path) as file:
        atomic.fcntl.flock(file, atomic.fcntl.LOCK_SH | atomic.fcntl.LOCK_NB)
    os.close(inherited)


def test_a_machine_with_dots_in_its_name_has_its_strays_found(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic.socket, "gethostname", lambda: "node7.cluster.example")
    with atomic_path(tmp_path / "table.parquet") as temporary:
        left = temporary.with_name(temporary.name.replace("parquet.", "parquet.x"))
        left.touch()
    with atomic_path(tmp_path / "table.parquet"):
        assert not left.exists()

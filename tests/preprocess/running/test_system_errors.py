"""What the system refuses, in words; and what is told of the killed."""

from __future__ import annotations

import errno
import os
import subprocess

import pytest

from preprocess.running.system_errors import brief, describe, describe_write_error, is_out_of_memory, shell_prefix


@pytest.mark.parametrize(
    ("number", "way_out"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "larger quota"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EROFS, "mount the file system for writing"),
        (errno.EACCES, "the right to write there"),
        (errno.EPERM, "the right to write there"),
        (errno.ENOTDIR, "a part of the path is a file"),
        (errno.EEXIST, "a part of the path is a file"),
        (errno.EISDIR, "a folder lies where the file belongs"),
        (errno.EIO, "dmesg"),
    ],
)
def test_a_refusal_to_write_has_its_way_out(number, way_out, tmp_path):
    told = describe_write_error(OSError(number, "x"), tmp_path / "a.h5")
    assert told.startswith(f"cannot write {tmp_path / 'a.h5'}: {os.strerror(number)}")
    assert way_out in told
    assert told.endswith("Then run the same command again")
    # a full disc says how full; of an unknown file nothing is said
    assert (" MB are free)" in told) == (number == errno.ENOSPC)
    assert describe_write_error(OSError(number, "x"), None).startswith(os.strerror(number))


def test_what_may_be_a_bug_has_no_words():
    assert describe_write_error(OSError(errno.ENOENT, "x"), "a") is None
    assert describe(ValueError("x")) is None
    # rights may be lacking for reading too
    assert describe(OSError(errno.EACCES, "x", "a")) is None
    assert describe(OSError(errno.ENOENT, "x", "a")) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_what_only_writing_can_meet_is_told(number):
    assert describe(OSError(number, "x", "/a/b")).startswith(f"cannot write /a/b: {os.strerror(number)}")
    assert describe(OSError(number, "x")).startswith(os.strerror(number))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
        RuntimeError("(-4:Insufficient memory) Failed to allocate"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB\nsecond line"),
        ValueError("Unable to allocate 3 GiB for an array"),
    ],
)
def test_memory_that_runs_out_is_told_whoever_says_it(error):
    assert is_out_of_memory(error)
    told = describe(error)
    assert "mem_mb" in told
    assert "second line" not in told
    assert (str(error).splitlines() or ["MemoryError"])[0] in told


def test_other_errors_are_not_of_memory():
    assert not is_out_of_memory(RuntimeError("CUDA error"))


@pytest.mark.parametrize(("code", "told"), [(0, False), (1, False), (136, False), (137, True), (138, False)])
def test_the_last_word_of_a_command_is_of_the_killed_alone(code, told):
    prefix = shell_prefix("/some/programs", os.getcwd()).replace("{{", "{").replace("}}", "}")
    command = ["bash", "-c", f"{prefix} echo $PATH; exit {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout.startswith("/some/programs:")
    assert ("was killed (signal 9)" in done.stderr) == told


def test_a_brief_error_is_one_line_and_cut_at_200_characters():
    assert brief(ValueError("a\n  b")) == "a b"
    assert brief(KeyError()) == "KeyError"
    assert brief(ValueError("x" * 200)) == "x" * 200
    assert brief(ValueError("x" * 201)) == "x" * 200 + " …"

import errno

import pytest

from preprocess.running.cli import UserError
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

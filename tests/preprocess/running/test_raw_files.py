import errno
import os

import pytest

from preprocess.running.cli import UserError
from preprocess.running.raw_files import RawFiles, file_checksum, index_command
from preprocess.video.outcomes import MISSING, UNREADABLE
from preprocess.video.probe import ProbeError
from workflow.scans import scan_rule


@pytest.fixture
def video(tmp_path, index_row):
    (tmp_path / "real").mkdir()
    path = tmp_path / "real/a.mp4"
    path.write_bytes(b"a video")
    return index_row("d/real/original/a", "real/a.mp4", n_bytes=7, checksum=file_checksum(path))


@pytest.fixture
def raw_files(tmp_path, video, index_row):
    others = [index_row("b", "real/b.mp4"), index_row("c", "real/c.mp4", status=MISSING)]
    return RawFiles.of_videos([video, *others], tmp_path)


def test_a_file_that_is_as_it_was_is_read_whatever_its_times(raw_files, video):
    path = raw_files.path_of(video)
    for seconds in (0, 2**33):
        os.utime(path, (seconds, seconds))
        with raw_files.reading(video) as given:
            assert given == path
            path.chmod(0o600)


def test_a_file_that_is_gone_stops_the_job_and_says_what_to_do(raw_files, video, tmp_path):
    raw_files.path_of(video).unlink()
    with pytest.raises(UserError) as raised, raw_files.reading(video):
        pytest.fail("a file that is gone is not read")
    assert str(raised.value) == (
        "data set 'd': real/a.mp4 was there when it was indexed, and now cannot be read (No such file or directory); "
        f"2 of 2 such files of shard 0000 are gone from '{tmp_path}'. Is the disc mounted? Then give the same command "
        "again. If the file is gone for good, index again by `snakemake --cores 1 index_videos_d`, which makes it a "
        "row `missing`"
    )
    (tmp_path / "real/b.mp4").touch()
    with pytest.raises(UserError, match=r"; 1 of 2 such files of shard 0000 are gone"):
        raw_files.check(video)


def test_a_folder_above_it_that_is_gone_or_no_folder_stops_the_job(raw_files, video, tmp_path):
    (tmp_path / "real").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"\(No such file or directory\).*2 of 2.*Is the disc mounted"):
        raw_files.check(video)
    (tmp_path / "real").touch()
    with pytest.raises(UserError, match=r"\(Not a directory\).*2 of 2.*Is the disc mounted"):
        raw_files.check(video)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads files of any permission")
def test_a_file_that_may_not_be_read_stops_the_job(raw_files, video):
    raw_files.path_of(video).chmod(0)
    with pytest.raises(UserError, match=r"\(Permission denied\); 1 of 2"):
        raw_files.check(video)


@pytest.mark.parametrize("is_file", [False, True])
def test_a_root_that_is_away_is_named(raw_files, video, tmp_path, is_file):
    root = tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}-away"))
    if is_file:
        tmp_path.touch()
    with pytest.raises(
        UserError, match=rf"data set 'd': its root '{tmp_path}' cannot be reached.*disc mounted"
    ) as away:
        raw_files.check(video)
    assert "index" not in str(away.value), "nothing is to be indexed while the disc is away"
    tmp_path.unlink(missing_ok=True)
    root.rename(tmp_path)
    raw_files.check(video)


def test_another_size_is_told_with_both_before_the_file_is_opened(raw_files, video):
    path = raw_files.path_of(video)
    path.write_bytes(b"a video and more")
    message = r"real/a\.mp4 has changed .*it has 16 bytes, the index says 7\. .*`snakemake --cores 1 index_videos_d`"
    with pytest.raises(UserError, match=message):
        raw_files.check(video)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="it has 0 bytes"):
        raw_files.check(video)


@pytest.mark.parametrize("seconds", [0, 2**33])
def test_other_bytes_of_the_same_size_are_told_whatever_their_time(raw_files, video, seconds):
    path = raw_files.path_of(video)
    path.write_bytes(b"A video")
    os.utime(path, (seconds, seconds))
    with pytest.raises(UserError, match=rf"has changed.*the checksum {file_checksum(path)}, the index says"):
        raw_files.check(video)


def test_a_file_that_changes_while_it_is_read_is_told(raw_files, video):
    path = raw_files.path_of(video)
    with pytest.raises(UserError, match="has changed"), raw_files.reading(video):
        path.write_bytes(b"A video")
    path.write_bytes(b"a video")
    with pytest.raises(UserError, match="Is the disc mounted"), raw_files.reading(video):
        path.unlink()


def broken(cause=None):
    error = ProbeError(UNREADABLE, "reading stops")
    error.__cause__ = cause
    return error


def test_only_what_is_broken_by_itself_is_a_row(raw_files, video):
    with pytest.raises(ProbeError), raw_files.reading(video):
        raise broken()
    with pytest.raises(ProbeError), raw_files.reading(video):
        raise broken(ValueError("what the content is to blame for"))
    with pytest.raises(UserError, match=r"\(Input/output error\); 1 of 2"), raw_files.reading(video):
        raise broken(OSError(errno.EIO, os.strerror(errno.EIO)))


def test_a_file_that_breaks_because_it_changes_is_no_row(raw_files, video):
    def read():
        with raw_files.reading(video) as path:
            path.write_bytes(b"cut")
            raise broken()

    with pytest.raises(UserError, match="has changed"):
        read()


def test_a_worker_that_was_ended_is_believed_only_of_the_file_that_was_indexed(raw_files, video):
    def ended():
        yield 1
        raise broken()

    def outcome():
        results = raw_files.believe(video, ended())
        assert next(results) == 1
        next(results)

    with pytest.raises(ProbeError):
        outcome()
    raw_files.path_of(video).unlink()
    with pytest.raises(UserError, match="Is the disc mounted"):
        outcome()


def test_a_file_that_no_index_has_seen_is_read_as_it_is(raw_files, video):
    unknown = video | {"n_bytes": None, "checksum": None}
    raw_files.path_of(video).unlink()
    with raw_files.reading(unknown):
        pass
    with pytest.raises(ProbeError), raw_files.reading(unknown):
        raise broken(OSError(errno.EIO, "its reader tells of it"))


def test_mask_videos_are_compared_with_their_own_checksum(tmp_path, video):
    mask = tmp_path / "mask.mp4"
    mask.write_bytes(b"a mask")
    row = video | {"mask_path": "mask.mp4", "mask_checksum": file_checksum(mask)}
    never = video | {"mask_path": "never.mp4"}
    masks = RawFiles.of_masks([row, never, video], tmp_path)
    (tmp_path / "real/a.mp4").unlink()  # another stage's
    with masks.reading(row) as path:
        assert path == mask
    with masks.reading(never) as path:
        assert path == tmp_path / "never.mp4"
    mask.write_bytes(b"A mask")
    with pytest.raises(UserError, match=r"mask\.mp4 has changed"):
        masks.check(row)
    mask.unlink()
    with pytest.raises(UserError, match=r"mask\.mp4 was there.*1 of 1"):
        masks.check(row)


def test_the_command_is_that_of_the_workflow():
    assert index_command("d") == f"snakemake --cores 1 {scan_rule('d')}"

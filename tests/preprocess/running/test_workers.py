import os
import signal
import time
from collections import deque

import pytest

from preprocess.running.cli import UserError
from preprocess.running.workers import map_videos
from preprocess.video.outcomes import NO_FRAMES, UNREADABLE
from preprocess.video.probe import ProbeError


def count_up_to(number):
    yield from range(number)


def misbehave(what):
    yield "first"
    match what:
        case "hang":
            time.sleep(1000)
        case "lost":
            raise ProbeError(NO_FRAMES, "it holds none")
        case "refused":
            raise UserError("is the disc mounted?")
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "bug":
            raise ZeroDivisionError("a bug")


def loads_slowly():
    time.sleep(1.5)


def does_not_load():
    raise ZeroDivisionError("a bug")


def process_id(_):
    time.sleep(0.05)
    yield os.getpid()


def a_megabyte_each(number):
    for _ in range(number):
        yield bytes(1 << 20)


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_the_items(workers):
    found = [list(results) for results in map_videos(count_up_to, [3, 0, 5, 1], workers=workers)]
    assert found == [[0, 1, 2], [], [0, 1, 2, 3, 4], [0]]


def test_results_that_are_not_read_do_not_stop_the_next():
    found = [next(results) for results in map_videos(count_up_to, [50, 60, 70], workers=1)]
    assert found == [0, 0, 0]


def outcomes(items, **options):
    """What came of each item, and the error after it."""
    for results in map_videos(misbehave, items, workers=1, **options):
        came = []
        try:
            came += results
        except ProbeError as error:
            came.append(error)
        yield came


def test_a_video_that_hangs_is_ended_and_the_next_goes_on():
    begin = time.monotonic()
    hung, fine = outcomes(["hang", "nothing"], video_seconds=1)
    assert time.monotonic() - begin < 60
    assert hung[0] == "first"
    assert hung[1].status == UNREADABLE
    assert hung[1].message == "reading it took longer than 1 s (video_seconds) and was ended"
    assert fine == ["first"]


def test_a_crash_loses_one_video():
    crashed, fine = outcomes(["crash", "nothing"])
    assert crashed[1].status == UNREADABLE
    assert "SIGSEGV" in crashed[1].message
    assert fine == ["first"]


def test_an_error_keeps_its_status_and_message():
    ((_, error),) = outcomes(["lost"])
    assert (error.status, error.message) == (NO_FRAMES, "it holds none")


def test_a_worker_killed_from_outside_stops_the_stage_and_is_no_fault_of_the_video():
    with pytest.raises(UserError, match=r"signal 9.*memory"):
        list(outcomes(["killed", "nothing"]))


def test_what_the_user_is_to_mend_stops_the_stage_in_its_own_words():
    with pytest.raises(UserError, match=r"^is the disc mounted\?$"):
        list(outcomes(["refused", "nothing"]))


def test_a_bug_is_raised_with_its_traceback():
    with pytest.raises(RuntimeError, match="ZeroDivisionError: a bug"):
        list(outcomes(["bug"]))


def test_what_a_worker_loads_first_takes_no_time_of_the_video():
    assert [
        list(results) for results in map_videos(count_up_to, [1, 2], workers=1, video_seconds=1, prepare=loads_slowly)
    ] == [[0], [0, 1]]
    with pytest.raises(RuntimeError, match=r"did not start(.|\n)*a bug"):
        deque(map(list, map_videos(count_up_to, [1, 2], workers=1, prepare=does_not_load)))


def test_time_in_which_results_wait_does_not_count():
    for results in map_videos(a_megabyte_each, [8], workers=1, video_seconds=2):
        sizes = []
        for result in results:
            sizes.append(len(result))
            time.sleep(0.5)
    assert sizes == [1 << 20] * 8


def test_workers_are_as_many_as_asked_and_end_with_the_last_item():
    ids = {pid for results in map_videos(process_id, range(20), workers=3) for pid in results}
    assert len(ids) == 3
    time.sleep(0.5)
    assert not [pid for pid in ids if os.path.exists(f"/proc/{pid}")]

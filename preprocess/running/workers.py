"""Work on videos in processes that can be killed: a decoder that hangs or crashes takes one video, not the stage.

Each worker takes one video at a time and sends its results piece by piece, so that a long video never lies in memory
whole. The stages that read raw files run on this; `preprocess.running.parallel` is for work that cannot hang.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import TypeVar

import cv2

from preprocess.running.cli import VIDEO_SECONDS, UserError
from preprocess.running.system_errors import OUT_OF_MEMORY, is_out_of_memory
from preprocess.video.outcomes import UNREADABLE
from preprocess.video.probe import ProbeError

T = TypeVar("T")
R = TypeVar("R")

# Results of one video that may wait to be taken.
_WAITING_RESULTS = 2
# A worker that is not up by then never will be: its modules do not import.
_START_SECONDS = 300.0
_READY, _RESULT, _LOST, _REFUSED, _FAILED, _NO_MEMORY, _DONE = range(7)
# Workers are forked from a process without threads, which has imported what the stage needs once for all.
_context = multiprocessing.get_context("forkserver")


def map_videos(
    function: Callable[[T], Iterator[R]],
    items: Iterable[T],
    *,
    workers: int,
    video_seconds: float = VIDEO_SECONDS,
    preload: tuple[str, ...] = (),
    prepare: Callable[[], object] | None = None,
) -> Iterator[Iterator[R]]:
    """Yield the results of every item, in the order of the items, computed in worker processes.

    Args:
        function: Makes the results of one item, one after the other. Pickled, hence a function of a module or a
            `functools.partial` of one. OpenCV runs on one thread in it.
        items: One for each video; pickled.
        workers: Number of processes. The results do not depend on it.
        video_seconds: Time that a worker may take over one item; while its results wait to be taken the clock stands.
        preload: Modules that the function needs and that take long to import; not the one that runs as a program.
        prepare: Called in each worker before its first item, whose time does not count: what the function loads once.

    Yields:
        For each item, an iterator over its results, to be used up before the next is taken. It raises ProbeError after
        the results that came, when the function does, the time is over or the worker crashes.

    Raises:
        UserError: The function raised it: nothing more is made, of any item. Or a worker was killed from outside, most
            often because memory ran out, or it got no memory.
        RuntimeError: The function failed with something else; the message holds the worker's traceback.
    """
    _context.set_forkserver_preload(["preprocess.running.workers", *preload])
    team = _Team(function, prepare, video_seconds)
    waiting: deque[queue.Queue] = deque()
    try:
        with contextlib.ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor(workers))
            stack.callback(team.stop)  # before the pool waits for its threads
            for item in items:
                results: queue.Queue = queue.Queue(_WAITING_RESULTS)
                pool.submit(team.work, item, results)
                waiting.append(results)
                if len(waiting) >= 2 * workers:
                    yield from _take(waiting.popleft())
            while waiting:
                yield from _take(waiting.popleft())
    finally:
        team.stop()


def _take(results: queue.Queue) -> Iterator[Iterator]:
    """Yield one iterator over the results of an item, and use up what its reader left."""
    iterator = _results(results)
    yield iterator
    with contextlib.suppress(ProbeError):
        deque(iterator, maxlen=0)


def _results(results: queue.Queue) -> Iterator:
    while True:
        kind, value = results.get()
        if kind == _RESULT:
            yield value
        elif kind == _DONE:
            return
        else:
            raise value


class _Team:
    """The workers, started when there is work and kept until `stop`."""

    def __init__(self, function: Callable, prepare: Callable | None, video_seconds: float):
        self._function = function
        self._prepare = prepare
        self._video_seconds = video_seconds
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._workers: set[_Worker] = set()
        self._change = threading.Lock()
        self._stopped = threading.Event()

    def work(self, item: object, results: queue.Queue) -> None:
        """Have an idle or a new worker make the results of an item; runs in a thread."""
        if self._stopped.is_set():
            return
        worker = None
        try:
            worker = self._idle_worker()
            for value in worker.results(item, self._video_seconds):
                self._put(results, (_RESULT, value))
            outcome: tuple[int, Exception | None] = (_DONE, None)
        except Exception as error:  # raised again where the results are read
            outcome = (_LOST, error)
        with self._change:
            if worker is not None and worker.alive():
                self._idle.put(worker)
            else:
                self._workers.discard(worker)
        self._put(results, outcome)

    def stop(self) -> None:
        """Kill the workers and let the threads end."""
        self._stopped.set()
        with self._change:
            for worker in self._workers:
                worker.kill()
            self._workers.clear()

    def _idle_worker(self) -> _Worker:
        with contextlib.suppress(queue.Empty):
            return self._idle.get_nowait()
        worker = _Worker(self._function, self._prepare)
        with self._change:
            self._workers.add(worker)
            if self._stopped.is_set():
                worker.kill()
        return worker

    def _put(self, results: queue.Queue, message: tuple) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                return results.put(message, timeout=0.2)


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, function: Callable, prepare: Callable | None):
        self._pipe, far_end = _context.Pipe()
        self._process = _context.Process(target=_serve, args=(far_end, function, prepare), daemon=True)
        self._process.start()
        far_end.close()
        self._ready = False

    def alive(self) -> bool:
        return not self._pipe.closed and self._process.is_alive()

    def kill(self) -> None:
        self._process.kill()

    def results(self, item: object, video_seconds: float) -> Iterator:
        """The results of one item, as they come; raises as `map_videos` says."""
        if not self._ready:
            kind, value = self._receive(_START_SECONDS, "waited for a worker to start")
            if kind == _FAILED:
                raise RuntimeError(f"a worker did not start:\n{value}")
            self._ready = True
        with contextlib.suppress(BrokenPipeError):  # reading says how it died
            self._pipe.send(item)
        left = video_seconds
        while True:
            begin = time.monotonic()
            kind, value = self._receive(left, f"took longer than {video_seconds:g} s (video_seconds)")
            left -= time.monotonic() - begin
            if kind == _DONE:
                return
            if kind == _LOST:
                raise ProbeError(*value)
            if kind == _REFUSED:
                raise UserError(value)
            if kind == _NO_MEMORY:
                raise UserError(f"memory ran out in a worker process ({value}): {OUT_OF_MEMORY}")
            if kind == _FAILED:
                raise RuntimeError(f"a worker failed:\n{value}")
            yield value

    def _receive(self, seconds: float, late: str) -> tuple:
        try:
            if self._pipe.poll(max(seconds, 0.0)):
                return self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            self._pipe.close()
            raise self._death() from None
        self.kill()
        self._process.join()
        self._pipe.close()
        raise ProbeError(UNREADABLE, f"reading it {late} and was ended")

    def _death(self) -> Exception:
        code = self._process.exitcode
        assert code is not None, "the process has been waited for"
        if code == -signal.SIGKILL:
            return UserError(f"a worker process was killed (signal 9), mostly because memory ran out: {OUT_OF_MEMORY}")
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return ProbeError(UNREADABLE, f"reading it crashed the decoder ({cause})")


def _serve(pipe: Connection, function: Callable[[T], Iterator[R]], prepare: Callable | None) -> None:
    """Answer every item with its results; runs in the worker until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers itself
    end_with_parent()
    cv2.setNumThreads(1)
    try:
        if prepare is not None:
            prepare()
        pipe.send((_READY, None))
    except Exception:  # the parent raises it
        pipe.send((_FAILED, traceback.format_exc()))
        return
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        try:
            for value in function(item):
                pipe.send((_RESULT, value))
            pipe.send((_DONE, None))
        except ProbeError as error:
            pipe.send((_LOST, (error.status, error.message)))
        except UserError as error:
            pipe.send((_REFUSED, str(error)))
        except BrokenPipeError:
            return
        except Exception as error:  # the parent raises it
            if is_out_of_memory(error):
                pipe.send((_NO_MEMORY, str(error)))
            else:
                pipe.send((_FAILED, traceback.format_exc()))


def end_with_parent() -> None:
    """From now on, end this process of `multiprocessing` with its parent, also when a decoder never returns."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "runs in a worker"
    parent.join()
    os._exit(1)

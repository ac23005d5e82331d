"""A Python that starts at once: `forking_python()`, for the jobs of the workflows that tests run.

Each job of a workflow spends seconds on importing PyTorch and its like. This Python is a small program: it sends its
arguments, folder, environment and outputs to a server that has imported all of that, and the server forks. Signals
that it gets it hands on, and when it dies, so does the fork.

Limits of the shell that calls it (`ulimit`) and the processes' family are not those of the fork: tests that kill jobs
or limit them start the real thing.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

from helpers.fork_server import become, end, exit_code_of

_IMPORTED = (
    *("torch", "torchvision", "timm", "lightning", "torchmetrics", "dlib", "facenet_pytorch", "av", "cv2", "h5py"),
    *("pandas", "pyarrow.parquet", "pyarrow.compute", "pydantic", "matplotlib.pyplot", "scipy.stats", "scipy.spatial"),
    *("sklearn.metrics", "sklearn.manifold", "zstandard", "tqdm", "yaml"),
)
_MESSAGE_BYTES = 1 << 20
_START_SECONDS = 300

# Reads nothing but the standard library's core, so that it is up in a hundredth of a second.
_CLIENT = """#!{python} -ISs
import json, os, signal, socket, sys
arguments = sys.argv[1:]
if arguments[:1] != ["-m"]:
    os.execv({python!r}, [{python!r}, *arguments])
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, {n_bytes})
server.connect({path!r})
request = {{"arguments": arguments[1:], "cwd": os.getcwd(), "env": dict(os.environ), "executable": __file__}}
socket.send_fds(server, [json.dumps(request).encode()], [0, 1, 2])
pid = int(server.recv(100))
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda number, _: os.kill(pid, number))
code = int(server.recv(100) or -9)
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code != 9 else None
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@cache
def forking_python() -> str:
    """Path of the program; its server ends when this process does."""
    folder = Path(tempfile.mkdtemp(prefix="python"))
    path = folder / "server"
    alive, far_end = os.pipe()
    server = subprocess.Popen(
        [sys.executable, "-m", "helpers.job_server", str(path), str(alive)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        pass_fds=[alive],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    os.close(alive)
    atexit.register(os.close, far_end)
    deadline = time.monotonic() + _START_SECONDS
    while not path.exists():
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the server of the jobs' Python did not start")
        time.sleep(0.02)
    program = folder / "python"
    program.write_text(_CLIENT.format(python=sys.executable, path=str(path), n_bytes=_MESSAGE_BYTES))
    program.chmod(0o755)
    return str(program)


# --- in the server ---------------------------------------------------------------------------------------------


def _serve(listening: socket.socket, alive: int) -> tuple[dict, list[int]]:
    """Fork for every request; in the fork return it, with its outputs."""
    while True:
        ready, _, _ = select.select([listening, alive], [], [])
        if alive in ready:
            os._exit(0)
        connection, _ = listening.accept()
        if os.fork():
            connection.close()
            continue
        # this process waits for the program, and tells the client
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        listening.close()
        os.close(alive)
        message, places, _, _ = socket.recv_fds(connection, _MESSAGE_BYTES, 3)
        if not message:
            os._exit(0)
        pid = os.fork()
        if pid == 0:
            connection.close()
            return json.loads(message), places
        _tell(connection, pid)


def _tell(connection: socket.socket, pid: int) -> None:
    """Send a program's id and then its exit code; kill it when the client has gone."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.send(str(pid).encode())
        program = os.pidfd_open(pid)
        ready, _, _ = select.select([program, connection], [], [])
        if program not in ready:
            os.kill(pid, signal.SIGKILL)
        connection.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
    os._exit(0)


def main() -> None:
    """Serve, and in each fork run a module."""
    paths = sys.path[2:]  # without the current folder and that of the tests, which the programs have of their own
    for name in _IMPORTED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _MESSAGE_BYTES)
    listening.bind(sys.argv[1])
    listening.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    request, places = _serve(listening, int(sys.argv[2]))
    for target, place in enumerate(places):
        os.dup2(place, target)
        os.close(place)
    become(request, paths)
    end(exit_code_of(request["arguments"][0]))


if __name__ == "__main__":
    main()

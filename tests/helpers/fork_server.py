"""Running programs in processes that have imported the large libraries already: `run_python`.

A fresh Python takes a second to import Snakemake, or PyTorch. A server imports them once and forks for every program;
the fork gets the arguments, folder, environment and outputs that a new process would get, runs the module as
`python -m` does, and ends as Python ends. The modules of this project are never imported before, so that each
program reads them anew, from where its own PYTHONPATH leads. What a program starts are ordinary processes, unless it
is told to take `forking_python()` for its Python, which sends its arguments to a second server (`helpers.job_server`).

Not for tests that kill what they started, look for it by its command line, or give it limits: those start the real
thing with `subprocess`.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path

# What Snakemake imports as it starts, and most stages; a caller may name more.
_IMPORTED = ("snakemake.cli", "smart_open", "pandas", "jsonschema", "yaml", "pyarrow.parquet", "h5py", "cv2")
_REQUEST_BYTES = 1 << 20
_one_at_a_time = threading.Lock()


def run_python(
    command: Sequence[str],
    *,
    cwd: Path,
    env: dict[str, str] | None = None,
    merge: bool = False,
    imported: Sequence[str] = (),
    executable: str = sys.executable,
    timeout: float = 1700,
) -> subprocess.CompletedProcess[str]:
    """Run `python -m <module> ...` as `subprocess.run` does, in a fork of the server; what it prints is captured.

    Args:
        command: `sys.executable`, `-m`, the module, and its arguments.
        cwd: Where it runs.
        env: Its environment; this process's when absent.
        merge: Whether what it says on stderr is to stand in `stdout`.
        imported: Further libraries that it is to find imported.
        executable: What it is to take for its own Python, and start others by.
        timeout: Seconds.

    Raises:
        ValueError: The command is another one.
        TimeoutError: It took too long, and was killed.
    """
    python, option, *arguments = map(str, command)
    if (python, option) != (sys.executable, "-m") or not arguments:
        raise ValueError(f"{command} is no `{sys.executable} -m <module> ...`")
    environment = dict(os.environ if env is None else env)
    request = {"arguments": arguments, "cwd": str(cwd), "env": environment, "imported": imported}
    request["executable"] = executable
    with (
        _one_at_a_time,
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
        open(os.devnull) as nothing,
    ):
        places = [nothing.fileno(), output.fileno(), (output if merge else errors).fileno()]
        code = _server().run(request, places, timeout)
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(list(command), code, texts[0], None if merge else texts[1])


class _Server:
    def __init__(self):
        self._socket, far_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._socket, far_end):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _REQUEST_BYTES)
        with far_end:
            # it ends when this process does: then nobody holds the other end
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(far_end.fileno())],
                pass_fds=[far_end.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )

    def run(self, request: dict, places: list[int], timeout: float) -> int:
        """The exit code of the program that a request asks for."""
        program = None
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode()], places)
            program = int(self._socket.recv(100))
            self._socket.settimeout(timeout)
            code = int(self._socket.recv(100))
            self._socket.settimeout(None)
            return code
        except BaseException as error:
            # also when the test's own time is over: the next program gets a server that waits for nothing
            self._end(program)
            if isinstance(error, TimeoutError):
                raise TimeoutError(f"{request['arguments']} took longer than {timeout} s") from None
            raise

    def _end(self, program: int | None) -> None:
        _server.cache_clear()
        self._process.kill()
        if program is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(program, signal.SIGKILL)
        self._process.wait()
        self._socket.close()


@cache
def _server() -> _Server:
    return _Server()


# --- in the server ---------------------------------------------------------------------------------------------


def _serve(connection: socket.socket) -> dict:
    """Fork for every request, and return it in the fork."""
    while True:
        message, places, _, _ = socket.recv_fds(connection, _REQUEST_BYTES, 3)
        if not message:
            os._exit(0)
        request = json.loads(message)
        for name in request["imported"]:
            importlib.import_module(name)
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            for target, place in enumerate(places):
                os.dup2(place, target)
                os.close(place)
            connection.close()
            return request
        for place in places:
            os.close(place)
        connection.send(str(pid).encode())
        with contextlib.suppress(BrokenPipeError):
            connection.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())


def become(request: dict, paths: list[str]) -> None:
    """Make this process what `python -m` would be, but for what is imported."""
    sys.executable = request["executable"]
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    own = os.environ.get("PYTHONPATH", "")
    sys.path[:] = [os.getcwd(), *filter(None, own.split(os.pathsep)), *paths]
    importlib.invalidate_caches()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["-m", *request["arguments"][1:]]


def exit_code_of(module: str) -> int:
    """Run a module, say what Python would say at its end, and return the exit code."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def end(code: int) -> None:
    """End as Python does, but leave to the system the memory of all that was imported: tidying it up takes a second."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF)


def main() -> None:
    """Serve, and in each fork run a module."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    # the folder of this file, and what PYTHONPATH adds, which the programs have of their own
    n_added = 1 + len(list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))))
    paths = sys.path[n_added:]
    sys.path[:] = paths
    for name in _IMPORTED:
        importlib.import_module(name)
    request = _serve(connection)
    become(request, paths)
    end(exit_code_of(request["arguments"][0]))


if __name__ == "__main__":
    main()

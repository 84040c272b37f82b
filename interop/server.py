"""Starts and stops one server of any implementation, from a command template.

The command is run without a shell; `{config}` in it becomes the path of an ordinary zoo.cfg (appended if missing). The
server runs in a process group of its own, so that nothing it started outlives a test.
"""

import contextlib
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import zk

HERE = Path(__file__).resolve().parent
APACHE = "%s server {config}" % shlex.quote(str(HERE / "peers" / "apache-zookeeper"))
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target")).resolve()
OURS = "%s serve {config}" % shlex.quote(str(TARGET / "release" / "gamekeeper"))

START_PATIENCE_S = 60.0
STOP_PATIENCE_S = 30.0


class StartFailed(Exception):
    pass


def free_port():
    """A port that nobody listens on, outside the range that outgoing connections take theirs from."""
    while True:
        port = random.SystemRandom().randrange(12000, 32000)
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                sock.bind(("127.0.0.1", port))
                return port


class Server:
    """One server on a data directory. Without `data` it gets an empty one, which is removed with the object."""

    def __init__(self, command, lines=(), data=None, tick_ms=2000, env=None):
        self.command = command if "{config}" in command else command + " {config}"
        self.home = Path(tempfile.mkdtemp(prefix="gk-interop-"))
        self.data = Path(data) if data else self.home / "data"
        self.data.mkdir(exist_ok=True)
        self.lines = list(lines)
        self.tick_ms = tick_ms
        self.env = dict(os.environ, **(env or {}))
        self.log = self.home / "server.log"
        self.port = free_port()
        self.process = None

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.process is not None:
            self.kill()
        if kind is not None and kind is not KeyboardInterrupt:
            sys.stderr.write("".join("  server: " + line for line in self.log_lines()[-25:]))
        shutil.rmtree(self.home, ignore_errors=True)

    def config(self):
        lines = [
            "tickTime=%d" % self.tick_ms,
            "dataDir=%s" % self.data,
            "clientPort=%d" % self.port,
            "clientPortAddress=127.0.0.1",
            "maxClientCnxns=0",
            "4lw.commands.whitelist=*",
            "admin.enableServer=false",
            "extendedTypesEnabled=true",
        ]
        given = {line.split("=")[0] for line in self.lines}
        path = self.home / "zoo.cfg"
        path.write_text("\n".join([l for l in lines if l.split("=")[0] not in given] + self.lines) + "\n")
        return path

    def spawn(self):
        """Starts the process and returns at once."""
        assert self.process is None, "the server runs already"
        command = [word.replace("{config}", str(self.config())) for word in shlex.split(self.command)]
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.home, env=self.env,
                start_new_session=True,
            )

    def wait_serving(self, patience_s=START_PATIENCE_S):
        """Waits until `srvr` tells a mode; raises StartFailed when the process ends instead, or takes too long."""
        deadline = time.monotonic() + patience_s
        while not (answer := zk.four_letter_word(self.port, "srvr")) or "Mode: " not in answer:
            if self.process.poll() is not None:
                raise StartFailed("exit status %s\n%s" % (self.process.poll(), "".join(self.log_lines()[-15:])))
            if time.monotonic() > deadline:
                raise StartFailed("not serving after %.0f s\n%s" % (patience_s, "".join(self.log_lines()[-15:])))
            time.sleep(0.005)

    def start(self, attempts=3):
        """Starts and waits; a port that somebody else took meanwhile costs an attempt."""
        while True:
            self.spawn()
            try:
                self.wait_serving()
                return self
            except StartFailed:
                attempts -= 1
                in_use = any("in use" in line for line in self.log_lines()[-60:])
                self.kill()
                if attempts == 0 or not in_use:
                    raise
                self.port = free_port()

    def client(self, **options):
        """A client with a session of its own."""
        return zk.Client(self.port).connect(**options)

    def is_apache(self):
        return "apache-zookeeper" in self.command

    def kill(self):
        """SIGKILL to the whole process group."""
        self._signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def stop(self):
        """SIGTERM; returns the exit status. A server that does not obey is killed, and that is an error."""
        self._signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("the server did not end within %.0f s of SIGTERM" % STOP_PATIENCE_S) from None
        self._signal(signal.SIGKILL)
        self.process = None
        return status

    def _signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def pids(self):
        """Ids of all processes in the server's group (the command may be a wrapper)."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # gone meanwhile
                group = path.read_text().rsplit(")", 1)[1].split()[2]
                if int(group) == self.process.pid:
                    found.append(int(path.parent.name))
        return found

    def log_lines(self):
        try:
            return self.log.read_text(errors="replace").splitlines(True)
        except OSError:
            return []

    def monitor(self):
        """The figures of `mntr`, as text, by name."""
        answer = zk.four_letter_word(self.port, "mntr") or ""
        return dict(line.split("\t", 1) for line in answer.splitlines() if "\t" in line)


class Tally:
    """Counts of a suite's tests, and its closing line."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def run(self, name, test, *args):
        """Runs one test; an exception of any kind is a failure, reported on one line."""
        try:
            test(*args)
        except Exception as e:  # a test may fail in any way; the next one runs all the same
            self.failed += 1
            text = str(e) or repr(e)
            print("FAILED  %s: %s%s" % (name, "" if isinstance(e, AssertionError) else type(e).__name__ + ": ", text))
            return False
        self.passed += 1
        return True

    def close(self):
        """Prints `N passed, N failed[, N skipped]`; returns the exit status."""
        skipped = ", %d skipped" % self.skipped if self.skipped else ""
        print("%d passed, %d failed%s" % (self.passed, self.failed, skipped), flush=True)
        return 1 if self.failed or not self.passed else 0

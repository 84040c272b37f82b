"""Two servers on the same zoo.cfg, ours and Apache's, and what has to be the same about them.

A subject asks both the same and hands the two texts to `Comparison.texts`, line by line, once what differs from run to run
has been given a name: ports, session ids, directories (`Side.names`), and what the rules of the subject say. What still
differs is a finding, unless `differences.py` knows it.
"""

import concurrent.futures
import difflib
import os
import re
import tempfile

import zk
from server import APACHE, Server

# Apache's server logs only if told to, and both are to print times in one time zone.
ENVIRONMENT = {"ZK_LOG": "info", "ZK_HEAP": "256m", "TZ": "UTC"}


class Side(Server):
    """One of the two servers. `names` gives what is this server's own a name that is the other's too."""

    def __init__(self, title, command, lines, tick_ms):
        super().__init__(command, lines, tick_ms=tick_ms, env=ENVIRONMENT)
        self.title = title
        self.names = {}
        self.clients = {}

    def start(self, attempts=3):
        super().start(attempts)
        self.names[str(self.home)] = "HOME"
        self.name(r"%d" % self.port, "PORT")
        return self

    def name(self, literal, name):
        self.names[r"\b%s\b" % re.escape(literal)] = name

    def open(self, name, **options):
        """A client whose session and port are called NAME in both servers' texts."""
        client = self.client(**options)
        self.call_it(client, name)
        return client

    def call_it(self, client, name):
        """Keeps the client open, and gives its port and its session a name."""
        self.clients[name] = client
        self.name("%d" % client.sock.getsockname()[1], "port-" + name)
        if client.session:
            self.name("0x%x" % client.session.id, "session-" + name)

    def named(self, text):
        for literal, name in self.names.items():
            text = re.sub(literal, name, text)
        return text


class Pair:
    """Both servers, started at the same time."""

    def __init__(self, command, lines=(), tick_ms=2000):
        self.sides = (Side("Apache", APACHE, lines, tick_ms), Side("ours", command, lines, tick_ms))

    def __enter__(self):
        try:
            self.both(lambda side: side.start())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind, *rest):
        for side in self.sides:
            side.__exit__(kind, *rest)

    def both(self, action):
        """Does the same to both at the same time; what came of it, Apache's first."""
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return list(pool.map(action, self.sides))


class Comparison:
    """Collects what differs. A difference is one line of text, `SUBJECT: …`, for `differences.py` to know or not."""

    def __init__(self, of_apache):
        self.of_apache = of_apache
        self.compared = 0
        self.differences = []

    def differs(self, subject, what):
        self.differences.append("%s: %s" % (subject, what))

    def values(self, subject, theirs, ours):
        self.compared += 1
        if theirs != ours:
            self.differs(subject, "Apache %s, ours %s" % (theirs, ours))

    def saying(self, subject, texts, said):
        """Ours must say these things; in what words Apache says anything is its own business."""
        self.compared += 1
        for text in texts:
            if text not in said and not self.of_apache:
                self.differs(subject, "does not say %r" % text)

    def texts(self, subject, theirs, ours):
        """`- line` is only Apache's, `+ line` only ours."""
        self.compared += 1
        for line in difflib.ndiff(theirs, ours):
            if line[0] in "-+":
                self.differs(subject, line)


def say(port, *pieces, half_close=False, patience_s=20.0):
    """Sends the pieces, one after the other, on a connection of their own; (what came back, how it ended, our port)."""
    with zk.socket.create_connection(("127.0.0.1", port), timeout=patience_s) as sock:
        sock.setsockopt(zk.socket.IPPROTO_TCP, zk.socket.TCP_NODELAY, 1)
        own_port, came = sock.getsockname()[1], bytearray()
        try:
            for number, piece in enumerate(pieces):
                if number:
                    # The pieces are to be read apart: what was sent before has left by the time a round trip elsewhere is done.
                    zk.four_letter_word(port, "srvr")
                sock.sendall(piece)
            if half_close:
                sock.shutdown(zk.socket.SHUT_WR)
            while piece := sock.recv(65536):
                came += piece
            return bytes(came), "end", own_port
        except TimeoutError:
            return bytes(came), "silence", own_port
        except OSError:
            return bytes(came), "reset", own_port


def scratch():
    """A directory for one configuration."""
    return tempfile.TemporaryDirectory(prefix="gk-operator-")


def processors():
    return os.cpu_count() or 1

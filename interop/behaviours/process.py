"""The process: how it starts, what keeps it from starting, and how it ends."""

import signal
import socket

import zk
from .harness import QUICK, Config, check, same

EXIT_ERROR, EXIT_CONFIG, EXIT_DATA = 1, 2, 3


def ends_by_itself(server):
    """Starts what must not come up; its exit status and log."""
    server.spawn()
    status = server.process.wait(30)
    server.process = None
    return status, "".join(server.log_lines())


@check(private=True)
def signals_end_the_server_with_their_own_status(launch):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        with launch(QUICK) as server:
            server.start()
            client = server.client()
            client.call(zk.create("/before-" + number.name))
            server._signal(number)
            same(server.process.wait(30), 128 + number, "exit status after " + number.name)
            server.process = None
            server.start()
            server.client().call(zk.get_data("/before-" + number.name))


@check(private=True, ours_alone="ZooKeeper lets two servers write into one directory")
def a_second_server_on_the_same_directory_is_refused(launch):
    with launch(QUICK) as first:
        first.start()
        first.client().call(zk.create("/first"))
        with launch(QUICK, data=first.data) as second:
            status, log = ends_by_itself(second)
            same(status, EXIT_DATA, log)
            assert str(first.data) in log and "in use" in log, log
        first.client().call(zk.get_data("/first"))
        first.kill()
        with launch(QUICK, data=first.data) as second:
            second.start()
            second.client().call(zk.get_data("/first"))


@check(private=True)
def a_missing_directory_is_not_made_if_so_configured(launch):
    with launch(Config("datadir.autocreate=false")) as server:
        server.data.rmdir()
        status, log = ends_by_itself(server)
        same(status, EXIT_DATA, log)
        assert not server.data.exists(), "made all the same"


@check(private=True)
def a_directory_that_is_a_file_is_refused(launch):
    with launch(QUICK) as server:
        server.data.rmdir()
        server.data.write_text("not a directory")
        status, log = ends_by_itself(server)
        same(status, EXIT_DATA, log)


@check(private=True)
def a_port_in_use_is_an_error(launch):
    with launch(QUICK) as server, socket.create_server(("127.0.0.1", server.port)):
        status, log = ends_by_itself(server)
        same(status, EXIT_ERROR, log)


@check(private=True)
def a_wrong_configuration_is_refused(launch):
    for line in ("tickTime=2x", "minSessionTimeout=9000", "clientPort=none", "autopurge.snapRetainCount=x"):
        extra = ("maxSessionTimeout=1000",) if line.startswith("min") else ()
        with launch(Config(line, *extra)) as server:
            status, log = ends_by_itself(server)
            same(status, EXIT_CONFIG, line + "\n" + log)


@check(private=True)
def requests_in_flight_at_the_end_are_done_or_not_in_order(launch):
    with launch(QUICK) as server:
        server.start()
        client = server.client(timeout_ms=60000)
        client.send_raw(b"".join(client.encode(zk.create("/n%04d" % i))[0] for i in range(2000)))
        client.recv_reply()
        server._signal(signal.SIGTERM)
        answered = 1
        try:
            while True:
                same(client.recv_reply().err, 0)
                answered += 1
        except (zk.Closed, BrokenPipeError):
            pass
        same(server.process.wait(30), 143)
        server.process = None
        server.start()
        names = sorted(set(server.client().call(zk.get_children2("/"))[0]) - {"zookeeper"})
        assert len(names) >= answered, "%d of %d acknowledged creates are there" % (len(names), answered)
        same(names, ["n%04d" % i for i in range(len(names))])

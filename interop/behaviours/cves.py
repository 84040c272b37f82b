"""The classes of Apache ZooKeeper's published vulnerabilities that a plain client port can have, one check each.

Those that need TLS, SASL, an ensemble or the admin server are in the catalogue, with what they wait for.
"""

import contextlib
import re
import socket
import struct
import threading

import zk
from .harness import (
    PERSISTENT, RECURSIVE, ROOMY, Config, add_watch, bystander, check, digest_id, drain, raw, refused, same, set_watches,
    take_events,
)

READ, WRITE, ALL = 1, 2, 31
# Nothing that contains one of these may be in a log or an answer; the public part of an id is no secret.
CANARIES = ("canary-super", "canary-user", "canary-keystore", "canary-truststore", "canary-jaas")


def owned_by(auth, *more):
    return [(ALL, "digest", digest_id(auth)), *more]


def user(server, auth):
    return server.client().add_auth("digest", auth)


@check(Config("maxSessionTimeout=120000", "4lw.commands.whitelist=srvr"), rows=(10, "L15", "CVE-2017-5637"))
def cve_2017_5637_words_that_walk_over_all_watches_are_refused(server):
    for word in ("wchp", "wchc", "wchs", "dump", "cons", "stat", "mntr", "envi", "conf"):
        same(zk.four_letter_word(server.port, word), word + " is not executed because it is not in the whitelist.\n")


@check(ROOMY, alone=True, rows=("CVE-2017-5637",), ours_alone="ZooKeeper stands still while it lists that many")
def cve_2017_5637_words_that_walk_over_all_watches_hold_nobody_up(server):
    client = server.client()
    for batch in range(10):
        paths = ["/%d-%d" % (batch, number) for number in range(20_000)]
        client.call(set_watches(-1, exist=paths), zk.XID_SET_WATCHES)
    told = []

    def ask(word):
        for _ in range(5):
            answer = zk.four_letter_word(server.port, word, patience_s=60.0) or ""
            told.append((word, answer.count("\n/") + answer.count("\n\t/")))

    threads = [threading.Thread(target=ask, args=(word,)) for word in ("wchp", "wchc", "wchp", "wchc")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same(len(told), 20)
    short = [answer for answer in told if answer[1] < 199_999]
    same(short, [], "answers that do not tell of every path")


@check(private=True, rows=("CVE-2018-8012",))
def cve_2018_8012_a_standalone_server_has_no_port_for_peers(launch):
    with launch(Config()) as server:
        ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        server.lines = ["server.1=127.0.0.1:%d:%d" % tuple(port.getsockname()[1] for port in ports)]
        for port in ports:
            port.close()
        server.start()
        with bystander(server):
            for port in re.findall(r":(\d+)", server.lines[0]):
                with contextlib.suppress(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", int(port)), 5).close()
                    raise AssertionError("somebody listens for peers")


@check(rows=("CVE-2019-0201",))
def cve_2019_0201_acls_are_not_for_those_who_may_not_read(server):
    owner, stranger, reader = user(server, b"cve0201:secret"), server.client(), server.client()
    owner.call(zk.create("/cve-0201", acl=owned_by(b"cve0201:secret")))
    owner.call(zk.create("/cve-0201-read", acl=owned_by(b"cve0201:secret", (READ, "world", "anyone"))))
    owner.call(zk.create("/cve-0201-write", acl=owned_by(b"cve0201:secret", (WRITE, "world", "anyone"))))
    for path in ("/cve-0201", "/cve-0201-write"):
        refused(stranger, zk.get_acl(path), zk.NO_AUTH)
    same(reader.call(zk.get_acl("/cve-0201-read"))[0], ((ALL, "digest", "cve0201:x"), (READ, "world", "anyone")))


@check(rows=(55, "CVE-2024-23944"))
def cve_2024_23944_persistent_watches_do_not_tell_of_hidden_nodes(server):
    owner, spies = user(server, b"cve23944:x"), [server.client() for _ in range(3)]
    owner.call(zk.create("/cve-23944", acl=owned_by(b"cve23944:x")))
    for mode in (PERSISTENT, RECURSIVE):
        spies[mode].call(add_watch("/cve-23944", mode))
        spies[mode].call(add_watch("/cve-23944/secret-name", mode))
    everything = ["/cve-23944", "/cve-23944/secret-name"]
    spies[2].call(set_watches(0, persistent=everything, recursive=["/", "/cve-23944"]), zk.XID_SET_WATCHES)
    hidden = owned_by(b"cve23944:x")
    owner.call(zk.create("/cve-23944/secret-name", b"1", acl=hidden))
    owner.call(zk.set_data("/cve-23944/secret-name", b"2"))
    owner.call(zk.multi([zk.create("/cve-23944/in-multi", acl=hidden), zk.delete("/cve-23944/in-multi")]))
    owner.call(zk.delete("/cve-23944/secret-name"))
    owner.call(zk.set_acl("/cve-23944", hidden))
    for spy in spies:
        same([path for _, path in take_events(spy) if path.startswith("/cve-23944")], [])


@check(rows=("CVE-2024-51504",))
def cve_2024_51504_an_address_is_not_what_the_client_says(server):
    owner, client = user(server, b"cve51504:x"), server.client()
    path = owner.call(zk.create("/cve-51504", acl=[(ALL, "ip", "10.0.0.1"), (ALL, "auth", "")]))
    for claim in (b"10.0.0.1", b"X-Forwarded-For: 10.0.0.1", b""):
        client.call(zk.auth("ip", claim), zk.XID_AUTH)
        same(client.call(zk.Op(zk.WHO_AM_I, b"")), [("ip", "127.0.0.1")])
        refused(client, zk.get_data(path), zk.NO_AUTH)
    # Nor what a proxy's header in front of the first frame says.
    same(drain(raw(server, b"PROXY TCP4 10.0.0.1 127.0.0.1 1 2\r\n")), [])


@check(private=True, rows=("L13", "CVE-2026-24308"))
def cve_2026_24308_no_secret_is_logged_at_any_level(launch):
    config = Config(
        "maxSessionTimeout=120000", "DigestAuthenticationProvider.superDigest=" + digest_id(b"super:canary-super"),
        "ssl.keyStore.password=canary-keystore", "ssl.trustStore.password=canary-truststore",
        "sasl.jaas.config=canary-jaas", "an.unknown.password=canary-keystore",
    )
    with launch(config) as server:
        server.env["RUST_LOG"] = "trace"
        server.start()
        secrets = list(CANARIES) + [digest_id(b"super:canary-super").partition(":")[2], digest_id(b"u:canary-user").partition(":")[2]]
        with bystander(server):
            for auth in (b"super:canary-super", b"u:canary-user", b"super:canary-user"):
                client = user(server, auth)
                client.call(zk.create("/canary-", b"1", acl=[(ALL, "auth", "")], flags=zk.EPHEMERAL_SEQUENTIAL))
                secrets += [client.session.password.hex(), repr(client.session.password)[2:-1]]
                secrets += [", ".join(str(byte) for byte in client.session.password)]
                zk.Client(server.port).connect(resume=client.session)
            client = server.client()
            client.send(zk.auth("unknown", b"u:canary-user"), zk.XID_AUTH)
            drain(client)
            drain(raw(server, zk.frame(zk.connect_request(1000, 77, b"canary-user-1234"))))
            drain(raw(server, zk.frame(b"canary-user" * 3)))
            answers = "".join(zk.four_letter_word(server.port, word) for word in (
                "conf", "cons", "dump", "envi", "mntr", "srvr", "stat", "wchc", "wchp", "wchs"))
        log = "".join(server.log_lines())
        # The script that starts Apache's has it log to nowhere.
        assert server.is_apache() or "binding to port" in log, "that is not the log"
        for secret in secrets:
            assert secret not in answers, "an answer has %r" % secret
            assert secret not in log, "the log has %r" % secret


@check(private=True, rows=("L17",))
def no_client_writes_lines_of_its_own_into_the_log(launch):
    with launch(Config("maxSessionTimeout=120000")) as server:
        server.env["RUST_LOG"] = "trace"
        server.start()
        forged = "\n2026-01-01 INFO forged-line\r\x1b[31mforged-line\n"
        with bystander(server):
            client = server.client()
            client.add_auth("digest", forged.encode() + b":x")
            client.call(add_watch("/" + forged, PERSISTENT))
            for op in (zk.create("/" + forged), zk.set_data("/" + forged, b""), zk.create("/f", acl=[(ALL, "digest", forged + ":x")]),
                       zk.get_data("/" + forged), zk.sync("/" + forged)):
                with contextlib.suppress(zk.ZkError):
                    client.call(op)
            client.send(zk.auth(forged, b""), zk.XID_AUTH)
            drain(client)
            drain(raw(server, forged.encode() * 3))
            drain(raw(server, struct.pack(">i", len(forged)) + forged.encode()))
        lines = [line for line in server.log_lines() if "forged-line" in line]
        assert not [line for line in lines if "\x1b" in line or line.lstrip().startswith(("2026-01-01 INFO", "forged"))], lines


@check(ours_alone="ZooKeeper's passwords follow from the session id", rows=(14, "password"))
def a_session_id_that_others_can_read_does_not_give_its_password(server):
    owner, thief = server.client(), server.client()
    owner.call(zk.create("/stolen", flags=zk.EPHEMERAL))
    seen = thief.call(zk.exists("/stolen")).ephemeral_owner
    same(seen, owner.session.id)
    for word in ("cons", "dump"):
        assert "%x" % seen in zk.four_letter_word(server.port, word), "%s tells no ids, which this check is about" % word
    # A password of one session says nothing of another's, whose id differs by one.
    guesses = [zk.session_password(seen), thief.session.password, zk.session_password(seen ^ 0xB3415C00), bytes(16)]
    for guess in guesses:
        response = zk.Reader(*[frame for frame in drain(raw(server, zk.frame(zk.connect_request(30000, seen, guess))))])
        same((response.int(), response.int(), response.long()), (0, 0, 0))
    same(owner.call(zk.get_ephemerals()), ["/stolen"])
    owner.close()

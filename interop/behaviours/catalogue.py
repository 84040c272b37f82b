"""What a stranger may try on a client port, one row each, and which check holds the server to it.

A check names the rows that it covers (`@check(rows=...)`), and every such check runs beside a bystander (`bystander.py`).
`behaviour --rows` prints this table with the checks behind each row; every run ends by asserting that no row is left
without one. A row that cannot be tried on a plain client port says here what it waits for.

Numbers are those of bad input, `L` is a limit, a CVE stands for the class of bug that Apache's had.
"""

import collections

# `waits` is None where the row applies, else why no check can cover it yet.
Row = collections.namedtuple("Row", "text waits")


def _rows(*rows, waits=None):
    return {key: Row(text, waits) for key, text in rows}


TLS = "TLS is not offered yet"
SASL = "SASL is not offered yet"
PEERS = "there is no ensemble yet"
ADMIN = "there is no admin server"
FILES = "not from a client: docs/durability.md, crates/storage/tests/hazards.rs"

CATALOGUE = {
    **_rows(
        (1, "frame length -1, -2, -2^31"),
        (2, "frame length 0, before and after the handshake"),
        (3, "frame length 2^31-1: closed, nothing is allocated for it"),
        (4, "a frame as long as jute.maxbuffer, and one byte longer"),
        (5, "a frame cut off at every byte, then FIN, RST, silence: never executed"),
        (6, "a byte at a time; a reader that takes a byte at a time"),
        (7, "a body shorter than its fields; bytes behind a body"),
        (8, "10,000 frames, 1,000,000 pings at once: bounded memory"),
        (9, "a first frame that is a request, random bytes, HTTP, TLS, SSH"),
        (10, "four-letter words: unknown, and not on the whitelist"),
        (11, "protocolVersion other than 0, no readOnly byte"),
        (12, "session timeouts of 0, -1, 2^31-1"),
        (13, "passwords of -1, 0, 15, 17 and a million bytes for a new session"),
        (14, "a session id with a guessed or computed password: its owner stays connected"),
        (15, "lastZxidSeen ahead of the server, and negative"),
        (16, "a second ConnectRequest"),
        (17, "one session on two connections"),
        (18, "xids that repeat, fall, are reserved"),
        (19, "operations that do not exist, or not for clients"),
        (20, "createSession, deleteContainer, reconfig from anybody"),
        (21, "the body of another operation, or none"),
        (22, "operations before auth where auth is enforced"),
        (23, "operations behind closeSession"),
        (24, "string length -2, -2^31, longer than the frame"),
        (25, "a null path"),
        (26, "an empty path"),
        (27, "a path without / in front"),
        (28, "a path with / at its end"),
        (29, "a path with an empty component"),
        (30, "components . and .."),
        (31, "NUL in a path"),
        (32, "control characters in a path"),
        (33, "surrogates, private use and specials in a path"),
        (34, "characters above U+FFFF in a path"),
        (35, "malformed UTF-8"),
        (36, "a path of a megabyte, of 100,000 components, a name of 64 KiB"),
        (37, "create below what is missing, below an ephemeral"),
        (38, "leaving a chroot by .., by a name that begins like it"),
        (39, "writes to /, /zookeeper and what is below it"),
        (40, "a sequence number after 2^31-1"),
        (41, "vectors of -1 and of 0 elements"),
        (42, "vectors of -2 to -2^31 elements"),
        (43, "a vector of 2^31-1 elements in a short body"),
        (44, "a buffer longer than its frame; null; sizes around the limit, over a restart"),
        (45, "ACLs: null, empty, 10,000 entries, odd permissions, schemes and ids"),
        (46, "an empty multi"),
        (47, "a multi whose end is missing, doubled, early"),
        (48, "a multi in a multi, a read in a multi, a write in a multiRead"),
        (49, "a multi of 100,000 operations"),
        (50, "a multi that creates, checks, sets and deletes one path"),
        (51, "a multi whose inner headers contradict the bodies"),
        (52, "setWatches of 300,000 paths, from before time and from the future"),
        (53, "addWatch of modes 2, -1, 2^31-1"),
        (54, "removeWatches of another type, or where there is none"),
        (55, "a recursive watch on / by somebody who may not see what changes"),
        (56, "auth packets of schemes that are none"),
        (57, "digest without a colon, empty, not UTF-8; a thousand guesses for super"),
        (58, "SASL tokens of no byte, of a megabyte, after others"),
        (61, "TTLs of 0, -1, 2^40, or without the feature; flags of 7 to 255"),
        (62, "reconfig with a megabyte of text, twice the same id, negative ports"),
    ),
    **_rows((59, "certificates and versions of TLS"), waits=TLS),
    **_rows((60, "SASL ids of servers"), (63, "the first message on the election port"), (64, "notifications"),
            (65, "the first packet of a learner"), (66, "forged ACKs, requests and revalidations"),
            (67, "a damaged SNAP"), (68, "proposals and commits out of order"), (69, "one server id twice"), waits=PEERS),
    **_rows((70, "HTTP at the admin port"), waits=ADMIN),
    **_rows((71, "files that were changed"), waits=FILES),
    **_rows(
        ("L1", "before a session: short first frame, few bytes kept, a deadline"),
        ("L2", "memory follows the bytes that came, not the length that was claimed"),
        ("L3", "whoever sends or takes next to nothing is let go"),
        ("L4", "connections: of an address, in all, how fast they may come"),
        ("L5", "bytes of requests that are under way, of one connection and in all"),
        ("L6", "watches, events, replies, ids of one connection; operations of a multi"),
        ("L7", "auth may be made a condition of everything"),
        ("L12", "a failed auth ends the connection"),
        ("L13", "secrets are in no answer and in no log"),
        ("L15", "four-letter words are answered only if they are on the list"),
        ("L16", "files and directories are their owner's alone"),
        ("L17", "no client writes lines of its own into the log"),
    ),
    **_rows(("L8", "versions and certificates of TLS"), waits=TLS),
    **_rows(("L11", "SASL identities belong to one connection"), waits=SASL),
    **_rows(("L9", "the ports of peers"), waits=PEERS),
    **_rows(("L14", "the admin port"), waits=ADMIN),
    **_rows(
        ("CVE-2017-5637", "words that walk over all watches, as often as anybody asks"),
        ("CVE-2018-8012", "a stranger joins the ensemble: no port of peers is open"),
        ("CVE-2019-0201", "getACL shows digests to those who may not read the node"),
        ("CVE-2024-23944", "events of a persistent watch tell of nodes that its owner may not read"),
        ("CVE-2024-51504", "an address that the client itself claims"),
        ("CVE-2026-24308", "secrets of the configuration in the log"),
        ("password", "a session's password follows from its id"),
    ),
    **_rows(("CVE-2023-44981", "a SASL id of a server without its host"), waits=PEERS),
    **_rows(("CVE-2026-24281", "names of certificates by reverse DNS"), waits=TLS),
    **_rows(("CVE-2025-58457", "snapshot and restore by anybody"), waits=ADMIN),
    **_rows(("CVE-2016-5017", "commands of the C shell"), waits="there is no C shell"),
}


def uncovered(checks):
    """What the checks leave out or make up: rows that apply and have no check, and names of rows that there are not."""
    covered = {row for check in checks for row in check.rows}
    missing = [key for key, row in CATALOGUE.items() if row.waits is None and key not in covered]
    unknown = [key for key in covered if key not in CATALOGUE or CATALOGUE[key].waits is not None]
    return missing, unknown


def lines(checks):
    """The table, one line a row and one for each of its checks."""
    for key, row in CATALOGUE.items():
        yield "%-15s %s" % (key, row.text)
        if row.waits is not None:
            yield "                  - %s" % row.waits
        for check in checks:
            if key in check.rows:
                yield "                  %s" % check.name

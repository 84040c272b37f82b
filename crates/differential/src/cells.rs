//! Which outcomes each operation can have here: each is to be seen often enough ([`SEEN_MIN`]), and no other at all.
//!
//! What the protocol has beyond these cannot come from a standalone server whose disk works, or not in a way that two
//! servers can be compared by:
//!
//! | outcome | why it is not here |
//! |---|---|
//! | -1, -2, -3 | an internal failure of the server, such as a full disk (`interop/real-disks`) |
//! | -4, -7 | made by clients themselves |
//! | -13, -14; reconfig with -8, -102, -103 | there is no ensemble to change |
//! | -112, -118 | the session has ended or moved, and so has its connection: what it hears before is a matter of time |
//! | -116, -117, -122 | not made by any server of this version |
//! | -119 | a server that has lost its ensemble |
//! | -120 | an ephemeral of a local session; Apache's standalone server makes none |
//! | -127 | a server that sheds load: a matter of time |
//! | delete -110, getData -111 and the like | no check of that operation gives them (semantics of each operation) |
//! | deleteContainer, createSession | ours refuses both; what Apache's does beyond the cells here changes its tree |

/// A cell is to be seen so often.
pub(crate) const SEEN_MIN: u64 = 20;

/// By operation: its outcomes. Those of a multi or multiRead that begin with `op` are the first error inside.
pub(crate) const CELLS: &[(&str, &[&str])] = &[
    ("(open)", &["accepted", "refused"]),
    ("(resume)", &["accepted", "refused"]),
    ("(cut)", &["done"]),
    ("(nonsense)", &["closed"]),
    ("(unknown)", &["-6", "-124"]),
    ("create", CREATED),
    ("create2", CREATED),
    ("createContainer", CREATED),
    ("createTTL", CREATED),
    ("delete", &["0", "-5", "-8", "-101", "-102", "-103", "-111", "-124"]),
    ("deleteContainer", &["-5", "-101", "-124"]),
    ("setData", &["0", "-5", "-8", "-101", "-102", "-103", "-124", "-125", "closed"]),
    ("setACL", &["0", "-5", "-8", "-101", "-102", "-103", "-114", "-124"]),
    ("check", &["-6", "-124"]),
    (
        "multi",
        &[
            "0", "-5", "-124", "op -6", "op -8", "op -101", "op -102", "op -103", "op -108", "op -110", "op -111",
            "op -114", "op -125",
        ],
    ),
    ("sync", &["0", "-5", "-124"]),
    ("reconfig", &["-5", "-6", "-123", "-124"]),
    ("createSession", &["greeted", "-124"]),
    ("closeSession", &["0", "-124"]),
    ("exists", &["0", "-5", "-8", "-101", "-102", "-124"]),
    ("getData", READ),
    ("getACL", READ),
    ("getChildren", READ),
    ("getChildren2", READ),
    ("getAllChildrenNumber", READ),
    ("getEphemerals", &["0", "-5", "-124"]),
    ("whoAmI", &["0", "-124"]),
    ("multiRead", &["0", "-5", "-124", "op -101", "op -102"]),
    ("addWatch", &["0", "-5", "-124"]),
    ("checkWatches", &["0", "-5", "-121", "-124"]),
    ("removeWatches", &["0", "-5", "-121", "-124"]),
    ("setWatches", &["0", "-5", "-124"]),
    ("setWatches2", &["0", "-5", "-124"]),
    ("auth", &["0", "-115", "closed"]),
    ("sasl", &["0", "closed"]),
    ("ping", &["0", "-124"]),
];

const CREATED: &[&str] = &["0", "-5", "-6", "-8", "-101", "-102", "-108", "-110", "-114", "-124", "-125"];

const READ: &[&str] = &["0", "-5", "-101", "-102", "-124"];

"""What is deliberately not as in Apache 3.9.5, as the comparisons find it.

Each entry names its row in docs/compatibility.md, "Seen by operators" (its first column), and the differences it stands for:
patterns of whole lines as `Comparison` writes them. An entry that matches nothing any more is stale, and fails.
"""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"

# Figures of `mntr` that are not measured here; a name stands for its average, percentiles and so on too.
NOT_MEASURED = """
    add_dead_watcher_stall_time auth_failed_count bytes_received_count client_response_size close_session_prep_time
    cnxn_closed_without_zk_server_running commit_commit_proc_req_queued commit_count commit_process_time
    commit_propagation_latency concurrent_request_processing_in_commit_processor connection_drop_count
    connection_drop_probability connection_request_count connection_revalidate_count connection_token_deficit dbinittime
    dead_watchers_cleaner_latency dead_watchers_cleared dead_watchers_queued diff_count election_time ensemble_auth_fail
    ensemble_auth_skip ensemble_auth_success follower_sync_time inflight_diff_count inflight_snap_count
    insecure_admin_count jvm_pause_time_ms large_requests_rejected last_client_response_size leader_unavailable_time
    learner_commit_received_count learner_proposal_received_count learner_request_processor_queue_size
    local_write_committed_time_ms looking_count netty_queued_buffer_capacity node_changed_watch_count
    node_children_watch_count node_created_watch_count node_deleted_watch_count non_mtls_local_conn_count
    non_mtls_remote_conn_count observer_sync_time om_commit_process_time_ms om_proposal_process_time_ms
    outstanding_changes_queued outstanding_changes_removed outstanding_tls_handshake pending_session_queue_size
    prep_process_time prep_processor_queue_size prep_processor_queue_time_ms prep_processor_request_queued
    propagation_latency proposal_ack_creation_latency proposal_count proposal_latency proposal_process_time
    quit_leading_due_to_disloyal_voter quorum_ack_latency read_commit_proc_issued read_commit_proc_req_queued
    read_commitproc_time_ms read_final_proc_time_ms readlatency reads_after_write_in_session_queue
    reads_issued_from_session_queue request_commit_queued request_throttle_queue_time_ms request_throttle_wait_count
    requests_in_session_queue requests_not_forwarded_to_commit_processor response_bytes response_packet_cache_hits
    response_packet_cache_misses response_packet_get_children_cache_hits response_packet_get_children_cache_misses
    restore_error_count restore_rate_limited_count restore_time revalidate_count server_write_committed_time_ms
    session_queues_drained sessionless_connections_expired skip_learner_request_to_next_processor_count snap_count
    snapshot_error_count snapshot_rate_limited_count socket_closing_time stale_replies stale_requests
    stale_requests_dropped stale_sessions_expired startup_snap_load_time startup_txns_load_time startup_txns_loaded
    sync_process_time sync_processor_batch_size sync_processor_queue_and_flush_time_ms sync_processor_queue_flush_time_ms
    sync_processor_queue_size sync_processor_queue_time_ms sync_processor_request_queued throttled_ops
    time_waiting_empty_pool_in_commit_processor_read_ms tls_handshake_exceeded unavailable_time unrecoverable_error_count
    unsuccessful_handshake updatelatency watch_bytes write_batch_time_in_commit_processor write_commit_proc_issued
    write_commit_proc_req_queued write_commitproc_time_ms write_final_proc_time_ms
""".split()
NOT_MEASURED += [r"\S+_(?:read|write)_per_namespace"]
# What only a JVM has.
OF_A_JVM = "java.version java.vendor java.home java.class.path java.library.path".split()

# (subject, first column of the row, pattern of the difference)
KNOWN = (
    *(("words", "`mntr`, `envi`", r"mntr \w+: - zk_(?:(?:avg|min|max|cnt|sum|p\d+)_)?%s\t.*" % name) for name in NOT_MEASURED),
    *(("words", "`mntr`, `envi`", r"envi \w+: (?:- %s=.*|\+ %s=<NA>)" % (key, key)) for key in OF_A_JVM),
    ("words", "`mntr`, `envi`", r"mntr \w+: \+ zk_fsync_threshold_exceed_count\t0"),
    ("words", "`zk_approximate_data_size`", r"mntr played: [-+] zk_approximate_data_size\t1(?:69|70)"),
    ("words", "`cons` before the first request on a resumed session", r"cons played: [-+] .*sid=session-moved,lop=(?:null|NA),.*"),
    ("words", "`stmk`", r"word stmk in two pieces: Apache \(b'', 'end'\), ours \(b'1234', 'end'\)"),
    ("words", "`stmk`", r"whitelist stmk: Apache stmk is not .*\n, ours "),
    ("settings", "a setting that ZooKeeper takes as a property, with a value that means nothing",
     r"(?:snapCount|preAllocSize|maxCnxns|globalOutstandingLimit) is no number: Apache serves, ours 2"),
    ("settings", "a setting that ZooKeeper takes as a property, with a value that means nothing",
     r"compression is unknown: Apache serves, ours 2"),
    ("settings", "a wrong value that is found only while starting",
     r"(?:empty dataDir|superDigest and a bad digestAlg): Apache 1, ours 2"),
    ("settings", "negative limits in `conf`", r"maxClientCnxns is negative: .*maxClientCnxns=-1, ours .*maxClientCnxns=0"),
    ("settings", "negative limits in `conf`", r"least is -2: .*minSessionTimeout=-2 .*, ours .*minSessionTimeout=0 .*"),
    ("settings", "`autopurge.purgeInterval` with a unit", r"autopurge.purgeInterval with a unit: Apache 2, ours serves"),
    ("settings", "digits of other scripts in a number", r"tickTime in other digits: Apache serves, .*, ours 2"),
    ("settings", "keys of what is not offered", r"secureClientPort without TLS: Apache 1, ours serves, stays"),
    ("settings", "keys of what is not offered", r"a group alone: Apache 1, ours serves"),
    ("exits", "a second server on one data directory", r"the data directory is in use: Apache serves, ours 3"),
    ("exits", "a start that damage prevents", r"(?:no snapshot beside a log|the only snapshot is .*|the log has .*): Apache 1, ours 10"),
    ("exits", "reading a log", r"the log is empty: Apache serves, ours 10"),
    ("exits", "`version-2` that is no directory", r"version-2 is a file: Apache 1, ours 3"),
    ("settings", "properties (`-Dzookeeper.…`)", r"jute.maxbuffer is a line: .*6000 bytes: created, ours .*6000 bytes: closed"),
)


def matches(entry, difference):
    return re.fullmatch(entry[2], difference, re.DOTALL) is not None


def unknown(subject, found):
    """The differences of a subject that no row stands for."""
    known = [entry for entry in KNOWN if entry[0] == subject]
    return [difference for difference in found if not any(matches(entry, difference) for entry in known)]


def stale(subject, found):
    """The entries of a subject that stand for nothing any more."""
    return ["%s: %s" % entry[1:] for entry in KNOWN
            if entry[0] == subject and not any(matches(entry, difference) for difference in found)]


def have_rows():
    table = PAGE.read_text().split("## Seen by operators", 1)[1].split("\n## ", 1)[0]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines() if line.startswith("| ")]
    for _, row, _ in KNOWN:
        there = any(found == row or found.startswith(row + " (") for found in rows)
        assert there, "docs/compatibility.md has no row %r" % row

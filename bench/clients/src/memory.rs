//! What connections and watches hold in memory: growth of the resident size of this process.

use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};

use crate::library::Library;
use crate::{SETTLE, answered, process};

/// The folder of the nodes that are watched.
const FOLDER: &str = "/clients-watched";

/// Nodes in a folder below it.
const NODES_A_FOLDER: usize = 1000;

/// Requests in flight while nodes are created, connections opened and watches set.
const IN_FLIGHT: usize = 64;

/// Connections that have answered one request and are idle. The first is not counted: it pays for threads and tables that
/// all share.
pub async fn connections<L: Library>(servers: &str, count: usize) -> Value {
    let first = used_once::<L>(servers).await;
    tokio::time::sleep(SETTLE).await;
    let before = process::resident_bytes();
    let opened = stream::iter(0..count).map(|_| used_once::<L>(servers)).buffer_unordered(IN_FLIGHT);
    let clients: Vec<L> = opened.collect().await;
    tokio::time::sleep(SETTLE).await;
    let grown = process::resident_bytes() - before;
    for client in clients.into_iter().chain([first]) {
        client.end().await;
    }
    json!({ "connections": count, "bytes_per_connection": grown / count as f64 })
}

async fn used_once<L: Library>(servers: &str) -> L {
    let client = answered("connect", L::open(servers).await);
    answered("getData", client.read("/").await);
    client
}

/// Creates the nodes for `watches`, if they are not all there already.
pub async fn fill<L: Library>(servers: &str, count: usize) -> Value {
    let client = answered("connect", L::open(servers).await);
    if !answered("exists", client.is_there(&watched_path(count - 1)).await) {
        answered("create", client.make(FOLDER, &[]).await);
        for folder in 0..count.div_ceil(NODES_A_FOLDER) {
            answered("create", client.make(&watched_folder(folder), &[]).await);
        }
        let create = async |i| answered("create", client.make(&watched_path(i), &[]).await);
        stream::iter(0..count).map(create).buffer_unordered(IN_FLIGHT).collect::<()>().await;
    }
    client.end().await;
    json!({ "nodes": count })
}

/// One-shot data watches, held by the caller as the library hands them out; what the caller holds counts too, and is also
/// told apart.
pub async fn watches<L: Library>(servers: &str, count: usize) -> Value {
    let client = answered("connect", L::open(servers).await);
    answered("getData", client.read("/").await);
    let mut held: Vec<L::Watch> = Vec::with_capacity(count);
    tokio::time::sleep(SETTLE).await;
    let before = process::resident_bytes();
    let watch = async |i| answered("getData with a watch", client.watch(&watched_path(i)).await);
    let mut set = std::pin::pin!(stream::iter(0..count).map(watch).buffer_unordered(IN_FLIGHT));
    while let Some(watch) = set.next().await {
        held.push(watch);
    }
    tokio::time::sleep(SETTLE).await;
    let grown = process::resident_bytes() - before;
    // What the watches were dropped for, request by request, is not part of the figure: the process ends here.
    std::mem::forget(held);
    json!({
        "watches": count,
        "bytes_per_watch": grown / count as f64,
        "bytes_of_them_held_by_the_caller": size_of::<L::Watch>(),
    })
}

fn watched_folder(folder: usize) -> String {
    format!("{FOLDER}/{folder:04}")
}

fn watched_path(i: usize) -> String {
    format!("{}/node-{i:07}", watched_folder(i / NODES_A_FOLDER))
}

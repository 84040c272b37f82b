//! The client: what a program calls.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gk_proto::acl::Acl;
use gk_proto::answer::{Answer, ClientInfo};
use gk_proto::op::{CreateMode, OpCode};
use gk_proto::request::{AclSpec, Create, Read, Write};
use gk_proto::stat::Stat;
use gk_proto::watch::AddWatchMode;
use gk_proto::{ErrorCode, SessionId};
use tracing::Span;

use crate::builder::ClientBuilder;
use crate::chroot::Chroot;
use crate::core::{Failure, Identity, Input, Request, SessionState, WatchKind};
use crate::counters::Counters;
use crate::error::Error;
use crate::options::{CreateOptions, Created, Version};
use crate::pending::{Asked, Pending, Reading, Watching};
use crate::servers::{ConnectString, ServerSource};
use crate::shared::Shared;
use crate::states::StateStream;
use crate::watch::{OneshotWatch, WatchStream};

/// A session with an ensemble, and the path under which its program lives.
///
/// Cheap to clone; clones share the session. When the last one is dropped the session is closed in the background (use
/// [`Client::close`] to wait for that), and its ephemeral nodes go. Watches and answers that still wait do not keep it.
///
/// **Order.** A request is made when its method is called, before the returned future is polled. Requests of all clones
/// take effect in the order in which they were made, and nothing waits for the answer of what was made before: await
/// several together to have them under way together.
///
/// **Cuts.** When the connection ends, the client connects to another server and the session goes on. Requests that were
/// not sent, and reads, are sent there. A write that was sent and not answered fails with [`Error::OutcomeUnknown`]: it is
/// never repeated behind the program's back. If no server is reached for the length of the session timeout, what waits
/// fails with [`Error::ConnectionLost`], and so does what is asked until one is.
///
/// **End.** When a server says that the session has expired, all that waits fails with [`Error::SessionExpired`]: a new
/// client is needed, and what the old session held is gone. A session that might have expired unheard is
/// [`SessionState::Lost`].
///
/// **Servers.** ZooKeeper 3.5 and later; operations that came later say so.
#[derive(Clone, Debug)]
pub struct Client {
    handle: Arc<Handle>,
    chroot: Chroot,
}

/// What all clones of a client share; dropping it ends the session.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    /// The name whose records are the servers, if they come from DNS.
    dns_name: Option<Arc<str>>,
    request_bytes_max: usize,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.tell(Input::Close(None));
    }
}

impl Client {
    /// Connects with default options: a session timeout of 30 seconds is asked for, read-only servers are passed over.
    ///
    /// `servers` is `host:port,host:port/chroot`, or `dns-srv://name/chroot`; see [`ConnectString`]. Needs a tokio
    /// runtime with time and IO enabled, whose task serves the session from then on.
    ///
    /// # Errors
    /// [`Error::BadServers`], or [`Error::NotConnected`] with what each server said.
    pub async fn connect(servers: &str) -> Result<Self, Error> {
        ClientBuilder::new().connect(servers).await
    }

    /// Connects with options.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    pub(crate) fn new(
        shared: Arc<Shared>,
        chroot: Arc<str>,
        dns_name: Option<Arc<str>>,
        request_bytes_max: usize,
    ) -> Self {
        Self { handle: Arc::new(Handle { shared, dns_name, request_bytes_max }), chroot: Chroot::new(chroot) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// The same session, with the paths of the server.
    pub(crate) fn without_chroot(&self) -> Self {
        Self { handle: self.handle.clone(), chroot: Chroot::none() }
    }

    pub(crate) fn chroot_ref(&self) -> &Chroot {
        &self.chroot
    }
}

/// The session.
impl Client {
    /// Its id. It changes only when the first servers were read-only.
    pub fn session_id(&self) -> SessionId {
        self.identity().map(|identity| identity.session).unwrap_or_default()
    }

    /// Id and password: enough to resume the session elsewhere, see [`ClientBuilder::resume`]. A secret.
    pub fn identity(&self) -> Option<Identity> {
        self.shared().look(|state| state.session().identity())
    }

    /// The timeout that the server granted.
    pub fn session_timeout(&self) -> Duration {
        Duration::from_millis(self.shared().look(|state| state.session().timeout().0))
    }

    /// Where the session stands now.
    pub fn state(&self) -> SessionState {
        self.shared().look(|state| state.session().state())
    }

    /// The states it enters from now on.
    pub fn states(&self) -> StateStream {
        StateStream::new(self.shared())
    }

    /// The server that serves it, as `host:port`; `None` while it is not connected.
    pub fn server(&self) -> Option<String> {
        self.shared().look(|state| state.session().server().map(ToString::to_string))
    }

    /// What it has done so far.
    pub fn counters(&self) -> Counters {
        self.shared().look(|state| state.counters())
    }

    /// The path under which this client lives on the server, `/` if it has no chroot.
    pub fn root(&self) -> &str {
        self.chroot.as_path()
    }

    /// Another client on the same session that lives under `path`, which is taken from this one's root. The node need
    /// not exist.
    ///
    /// # Errors
    /// [`Error::BadArgument`] if the path is not valid.
    pub fn chroot(&self, path: &str) -> Result<Self, Error> {
        Ok(Self { handle: self.handle.clone(), chroot: self.chroot.below(path)? })
    }

    /// Takes another list of servers, `host:port,host:port`; a chroot in it is refused. If the server in use is not on
    /// it, or enough new ones are, the session moves to another so that load stays even over all clients; requests under
    /// way are answered first.
    ///
    /// Not for a client whose servers come from DNS: it has those that the records name, and a list given here would
    /// hold until the next lookup only. Nor can a client that was given a list change over to DNS.
    ///
    /// # Errors
    /// [`Error::BadServers`]; [`Error::BadArgument`] if the servers come from DNS.
    pub fn update_servers(&self, servers: &str) -> Result<(), Error> {
        if let Some(name) = &self.handle.dns_name {
            let what =
                format!("the servers come from DNS: change the SRV records of {name}, which this client follows");
            return Err(Error::BadArgument { what });
        }
        let bad = |reason: &str| Error::BadServers { text: servers.to_owned(), reason: reason.to_owned() };
        let parsed: ConnectString = servers.parse()?;
        let (source, chroot) = parsed.into_parts();
        if !chroot.is_empty() {
            return Err(bad("a client's chroot cannot change; leave it out"));
        }
        let ServerSource::Listed(list) = source else {
            return Err(bad("a client that was given its servers does not change over to DNS; connect anew"));
        };
        self.shared().tell(Input::Servers(list));
        Ok(())
    }

    /// Authenticates the session, on this and every later connection: `("digest", b"user:password")`.
    ///
    /// # Errors
    /// [`Error::AuthFailed`], after which the session is over: servers end a connection that fails to authenticate.
    pub fn auth(&self, scheme: &str, auth: impl AsRef<[u8]>) -> Pending<()> {
        let (scheme, auth) = (scheme.to_owned(), auth.as_ref().to_vec());
        let token = self.shared().ask(|token| Input::Authenticate { token, scheme, auth });
        Pending::new(self.shared().clone(), token, self.asked(""), nothing, Span::none())
    }

    /// Closes the session, after the requests made before: its ephemeral nodes go at once.
    ///
    /// # Errors
    /// [`Error::ConnectionLost`] or [`Error::OutcomeUnknown`] if no server confirmed it: then the session ends by its
    /// timeout. [`Error::Closed`] if it was closed before.
    pub fn close(&self) -> Pending<()> {
        let token = self.shared().ask(|token| Input::Close(Some(token)));
        Pending::new(self.shared().clone(), token, self.asked(""), nothing, Span::none())
    }

    /// Disconnects and leaves the session alive at the server until its timeout, for [`ClientBuilder::resume`].
    pub fn detach(&self) {
        self.shared().tell(Input::Detach);
    }
}

/// Nodes.
impl Client {
    /// Makes a node: `client.create("/a", b"data", CreateMode::Persistent)`.
    ///
    /// # Errors
    /// `NodeExists`, `NoNode` (no parent), `NoChildrenForEphemerals`, `NoAuth`, `InvalidAcl`, `QuotaExceeded`.
    pub fn create(&self, path: &str, data: impl AsRef<[u8]>, options: impl Into<CreateOptions>) -> Pending<Created> {
        match self.create_op(path, data.as_ref(), &options.into()) {
            Ok(create) => self.write(path, &Write::Create(create), created),
            Err(error) => self.refuse(path, error, created),
        }
    }

    /// Removes a node.
    ///
    /// # Errors
    /// `NoNode`, `NotEmpty`, `BadVersion`, `NoAuth`.
    pub fn delete(&self, path: &str, version: Version) -> Pending<()> {
        self.write_at(path, nothing, |path| Write::Delete { path, version: version.wire() })
    }

    /// Replaces the data of a node.
    ///
    /// # Errors
    /// `NoNode`, `BadVersion`, `NoAuth`, `QuotaExceeded`.
    pub fn set_data(&self, path: &str, data: impl AsRef<[u8]>, version: Version) -> Pending<Stat> {
        let data = data.as_ref();
        if let Err(error) = self.check_size(path, data.len()) {
            return self.refuse(path, error, stat);
        }
        match self.chroot.absolute(path) {
            Ok(absolute) => {
                let request = Request::set_data(&absolute, data, version.wire());
                self.submit(request, self.asked(path), stat)
            }
            Err(error) => self.refuse(path, error, stat),
        }
    }

    /// The data and stat of a node. A node made without data, by another library, has none: empty here.
    ///
    /// # Errors
    /// `NoNode`, `NoAuth`.
    pub fn get_data(&self, path: &str) -> Pending<(Bytes, Stat)> {
        self.read(
            path,
            |path| Read::GetData { path, watch: false },
            |answer, asked| {
                if let Answer::Data(data, stat) = asked.got(answer)? {
                    Ok((data.unwrap_or_default(), stat))
                } else {
                    misread(asked)
                }
            },
        )
    }

    /// The same, and a watch for the next change of the data or the end of the node.
    ///
    /// # Errors
    /// `NoNode` (and no watch is set; see [`Client::exists_and_watch`]), `NoAuth`.
    pub fn get_data_and_watch(&self, path: &str) -> Pending<(Bytes, Stat, OneshotWatch)> {
        self.read_once(
            path,
            WatchKind::Data,
            |path| Read::GetData { path, watch: true },
            |answer, asked| {
                let Answer::Data(data, stat) = asked.got(answer)? else { return misread(asked) };
                Ok((data.unwrap_or_default(), stat, asked.take_watch()))
            },
        )
    }

    /// The stat of a node, if it exists.
    ///
    /// # Errors
    /// None of the server's, `NoNode` included.
    pub fn exists(&self, path: &str) -> Pending<Option<Stat>> {
        self.read_raw(path, None, |path| Read::Exists { path, watch: false }, existing)
    }

    /// The same, and a watch: for the next change or the end of the node, or for its creation if there is none.
    ///
    /// # Errors
    /// None of the server's, `NoNode` included.
    pub fn exists_and_watch(&self, path: &str) -> Pending<(Option<Stat>, OneshotWatch)> {
        self.read_raw(
            path,
            Some(WatchKind::Data),
            |path| Read::Exists { path, watch: true },
            |answer, asked| {
                let stat = existing(answer, asked)?;
                Ok((stat, asked.take_watch()))
            },
        )
    }

    /// The names of the children, in no order.
    ///
    /// # Errors
    /// `NoNode`, `NoAuth`.
    pub fn children(&self, path: &str) -> Pending<Vec<String>> {
        self.read(
            path,
            |path| Read::GetChildren { path, watch: false, stat: false },
            |answer, asked| {
                if let Answer::Children(names) = asked.got(answer)? { Ok(names) } else { misread(asked) }
            },
        )
    }

    /// The names of the children, in no order, and the stat of the node.
    ///
    /// # Errors
    /// `NoNode`, `NoAuth`.
    pub fn children_stat(&self, path: &str) -> Pending<(Vec<String>, Stat)> {
        self.read(
            path,
            |path| Read::GetChildren { path, watch: false, stat: true },
            |answer, asked| {
                if let Answer::ChildrenStat(names, stat) = asked.got(answer)? {
                    Ok((names, stat))
                } else {
                    misread(asked)
                }
            },
        )
    }

    /// The same, and a watch for the next child that comes or goes, or the end of the node.
    ///
    /// # Errors
    /// `NoNode`, `NoAuth`.
    pub fn children_and_watch(&self, path: &str) -> Pending<(Vec<String>, Stat, OneshotWatch)> {
        let reading: Reading<_> = |answer, asked| {
            let Answer::ChildrenStat(names, stat) = asked.got(answer)? else { return misread(asked) };
            Ok((names, stat, asked.take_watch()))
        };
        let kind = WatchKind::Child;
        self.read_once(path, kind, |path| Read::GetChildren { path, watch: true, stat: true }, reading)
    }

    /// How many nodes there are below this one, at any depth. Servers from 3.6 on.
    ///
    /// # Errors
    /// `NoNode`, `NoAuth`.
    pub fn descendants(&self, path: &str) -> Pending<u32> {
        self.read(
            path,
            |path| Read::GetAllChildrenNumber { path },
            |answer, asked| {
                let Answer::Number(number) = asked.got(answer)? else { return misread(asked) };
                Ok(u32::try_from(number).unwrap_or_default())
            },
        )
    }

    /// The paths of the ephemeral nodes of this session that begin with `prefix`, in no order; `/` for all of this
    /// client's. Servers from 3.6 on.
    ///
    /// # Errors
    /// None of the server's.
    pub fn ephemerals(&self, prefix: &str) -> Pending<Vec<String>> {
        let reading: Reading<_> = |answer, asked| {
            let Answer::Paths(paths) = asked.got(answer)? else { return misread(asked) };
            Ok(paths.into_iter().map(|path| asked.chroot.relative(path)).collect())
        };
        self.read(prefix, |path| Read::GetEphemerals { prefix: Some(path) }, reading)
    }

    /// Who may do what with a node.
    ///
    /// # Errors
    /// `NoNode`, `NoAuth`.
    pub fn acl(&self, path: &str) -> Pending<(Vec<Acl>, Stat)> {
        self.read(
            path,
            |path| Read::GetAcl { path },
            |answer, asked| {
                if let Answer::Acl(list, stat) = asked.got(answer)? {
                    Ok((list.to_vec(), stat))
                } else {
                    misread(asked)
                }
            },
        )
    }

    /// Replaces who may do what with a node. `version` is that of the ACL (`stat.aversion`).
    ///
    /// # Errors
    /// `NoNode`, `BadVersion`, `NoAuth`, `InvalidAcl`.
    pub fn set_acl(&self, path: &str, acl: &[Acl], version: Version) -> Pending<Stat> {
        self.write_at(path, stat, |path| Write::SetAcl { path, acl: AclSpec::from(acl), version: version.wire() })
    }

    /// Sees to it that reads made after this one are answered no earlier than everything that any client was told before
    /// it: the server catches up with the leader first.
    ///
    /// Apache's leader has been seen to answer before it had applied the last txns itself. Where that matters, an empty
    /// [`Client::multi`] is a barrier that always holds, at the price of a txn.
    ///
    /// # Errors
    /// None of the server's.
    pub fn sync(&self, path: &str) -> Pending<()> {
        self.write_at(path, nothing, |path| Write::Sync { path: Some(path) })
    }

    /// The identities of this connection. Servers from 3.7 on.
    ///
    /// # Errors
    /// `Unimplemented` on older servers, which also end the connection.
    pub fn who_am_i(&self) -> Pending<Vec<ClientInfo>> {
        self.read(
            "/",
            |_path| Read::WhoAmI,
            |answer, asked| {
                if let Answer::ClientInfo(ids) = asked.got(answer)? { Ok(ids) } else { misread(asked) }
            },
        )
    }

    /// Watches a node, or a node and everything below it, for all changes. The node need not exist. Servers from 3.6 on.
    ///
    /// # Errors
    /// None of the server's.
    pub fn watch(&self, path: &str, mode: AddWatchMode) -> Pending<WatchStream> {
        let reading: Reading<WatchStream> = |answer, asked| match answer {
            Ok(_) => Ok(asked.take_stream()),
            Err(failure) => Err(asked.error(failure)),
        };
        let mut asked = self.asked(path);
        let absolute = match self.chroot.absolute(path) {
            Ok(absolute) => absolute,
            Err(error) => return Pending::refused(error, asked, reading),
        };
        let kind = match mode {
            AddWatchMode::Persistent => WatchKind::Persistent,
            AddWatchMode::PersistentRecursive => WatchKind::Recursive,
        };
        let stream = WatchStream::new(self.shared(), &absolute, &self.chroot);
        let intent = stream.intent(kind);
        asked.watching = Watching::Stream(stream);
        let request = Request::watching(&Read::AddWatch { path: absolute, mode: mode.code() }, intent);
        self.submit(request, asked, reading)
    }
}

/// How requests are made.
impl Client {
    pub(crate) fn asked(&self, path: &str) -> Asked {
        Asked::about(path, &self.chroot)
    }

    pub(crate) fn refuse<T>(&self, path: &str, error: Error, reading: Reading<T>) -> Pending<T> {
        Pending::refused(error, self.asked(path), reading)
    }

    pub(crate) fn submit<T>(&self, request: Request, asked: Asked, reading: Reading<T>) -> Pending<T> {
        if let Err(error) = self.check_size(&asked.path, request.len()) {
            return Pending::refused(error, asked, reading);
        }
        let span = tracing::debug_span!("request", op = ?request.op(), path = &*asked.path);
        let token = self.shared().submit(request);
        Pending::new(self.shared().clone(), token, asked, reading, span)
    }

    /// The operation that makes a node.
    pub(crate) fn create_op(&self, path: &str, data: &[u8], options: &CreateOptions) -> Result<Create, Error> {
        let mode = options.mode;
        let absolute =
            if mode.is_sequential() { self.chroot.absolute_sequential(path)? } else { self.chroot.absolute(path)? };
        self.check_size(path, data.len())?;
        if mode.is_ttl() != options.ttl.is_some() {
            let what =
                if mode.is_ttl() { "a TTL node needs a time to live" } else { "only TTL nodes have a time to live" };
            return Err(Error::BadArgument { what: format!("{path}: {what}") });
        }
        let op = match mode {
            CreateMode::Persistent
            | CreateMode::Ephemeral
            | CreateMode::PersistentSequential
            | CreateMode::EphemeralSequential => OpCode::Create2,
            CreateMode::Container => OpCode::CreateContainer,
            CreateMode::Ttl | CreateMode::TtlSequential => OpCode::CreateTtl,
        };
        let ttl_ms = options.ttl.map(|ttl| i64::try_from(crate::clock::millis(ttl).0).unwrap_or(i64::MAX));
        let (data, acl) = (Some(Bytes::copy_from_slice(data)), AclSpec::from(options.acl.as_slice()));
        Ok(Create { op, path: absolute.into_owned(), data, acl, flags: mode.flags(), ttl_ms })
    }

    /// Servers close the connection on a larger request, and would on every repetition.
    pub(crate) fn check_size(&self, path: &str, bytes: usize) -> Result<(), Error> {
        let most = self.handle.request_bytes_max;
        if bytes <= most {
            return Ok(());
        }
        let what = format!("{path}: a request of {bytes} bytes; servers take {most} (their jute.maxbuffer)");
        Err(Error::BadArgument { what })
    }

    fn write<T>(&self, path: &str, write: &Write, reading: Reading<T>) -> Pending<T> {
        self.submit(Request::write(write), self.asked(path), reading)
    }

    fn write_at<T>(&self, path: &str, reading: Reading<T>, write: impl FnOnce(String) -> Write) -> Pending<T> {
        match self.chroot.absolute(path) {
            Ok(absolute) => self.write(path, &write(absolute.into_owned()), reading),
            Err(error) => self.refuse(path, error, reading),
        }
    }

    fn read<T>(
        &self,
        path: &str,
        read: impl for<'a> FnOnce(Cow<'a, str>) -> Read<'a>,
        reading: Reading<T>,
    ) -> Pending<T> {
        self.read_raw(path, None, read, reading)
    }

    fn read_once<T>(
        &self,
        path: &str,
        kind: WatchKind,
        read: impl for<'a> FnOnce(Cow<'a, str>) -> Read<'a>,
        reading: Reading<T>,
    ) -> Pending<T> {
        self.read_raw(path, Some(kind), read, reading)
    }

    fn read_raw<T>(
        &self,
        path: &str,
        watch: Option<WatchKind>,
        read: impl for<'a> FnOnce(Cow<'a, str>) -> Read<'a>,
        reading: Reading<T>,
    ) -> Pending<T> {
        let mut asked = self.asked(path);
        let absolute = match self.chroot.absolute(path) {
            Ok(absolute) => absolute,
            Err(error) => return Pending::refused(error, asked, reading),
        };
        let request = match watch {
            Some(kind) => {
                let watch = OneshotWatch::new(self.shared(), &absolute, &self.chroot);
                let intent = watch.intent(kind);
                asked.watching = Watching::Once(watch);
                Request::watching(&read(absolute), intent)
            }
            None => Request::read(&read(absolute)),
        };
        self.submit(request, asked, reading)
    }
}

/// An answer of another kind than the request has: only a bug of ours can make one.
pub(crate) fn misread<T>(asked: &Asked) -> Result<T, Error> {
    panic!("{}: the answer is not of the kind that the request has", asked.path)
}

pub(crate) fn nothing(answer: Result<Answer, Failure>, asked: &mut Asked) -> Result<(), Error> {
    asked.got(answer).map(|_| ())
}

pub(crate) fn stat(answer: Result<Answer, Failure>, asked: &mut Asked) -> Result<Stat, Error> {
    if let Answer::Stat(stat) = asked.got(answer)? { Ok(stat) } else { misread(asked) }
}

pub(crate) fn created(answer: Result<Answer, Failure>, asked: &mut Asked) -> Result<Created, Error> {
    let Answer::PathStat(path, stat) = asked.got(answer)? else { return misread(asked) };
    Ok(Created { path: asked.chroot.relative(path), stat })
}

fn existing(answer: Result<Answer, Failure>, asked: &mut Asked) -> Result<Option<Stat>, Error> {
    match answer {
        Err(Failure::Server(code)) if code == ErrorCode::NoNode.code() => Ok(None),
        answer => stat(answer, asked).map(Some),
    }
}

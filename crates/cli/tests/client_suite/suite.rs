//! What cases share: one ensemble for those that do no harm, and a few to be harmed, one case at a time.

use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};

use gk_client::{Client, CreateMode};
use tokio::sync::{Mutex, OnceCell, Semaphore, SemaphorePermit};

use crate::ensemble::Ensemble;
use crate::target::Target;

/// One case of the suite.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) needs: Needs,
    pub(crate) run: for<'a> fn(&'a Suite) -> Pin<Box<dyn Future<Output = ()> + 'a>>,
}

/// The targets on which a case makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Any.
    Any,
    /// A server that stands alone.
    One,
    /// Several servers that agree.
    Three,
}

impl Needs {
    /// Whether the case makes sense on `target`.
    pub(crate) fn met_by(self, target: Target) -> bool {
        match self {
            Self::Any => true,
            Self::One => target.members() == 1,
            Self::Three => target.members() >= 3,
        }
    }
}

/// Lists the cases of a module: what each needs, and its function.
macro_rules! cases {
    ($($needs:ident $name:ident,)*) => {
        pub(crate) const CASES: &[$crate::suite::Case] = &[$($crate::suite::Case {
            name: concat!(module_path!(), "::", stringify!($name)),
            needs: $crate::suite::Needs::$needs,
            run: |suite| Box::pin($name(suite)),
        }),*];
    };
}
pub(crate) use cases;

/// The ensembles of one run.
pub(crate) struct Suite {
    target: Target,
    shared: OnceCell<Ensemble>,
    idle: Mutex<Vec<Ensemble>>,
    may_take: Semaphore,
    spaces: AtomicU32,
}

impl Suite {
    pub(crate) fn new(target: Target) -> Self {
        Self {
            target,
            shared: OnceCell::new(),
            idle: Mutex::new(Vec::new()),
            may_take: Semaphore::new(target.ensembles_max()),
            spaces: AtomicU32::new(0),
        }
    }

    /// The servers of this run.
    pub(crate) fn target(&self) -> Target {
        self.target
    }

    /// The ensemble for cases that leave the servers alone, started by the first of them.
    pub(crate) async fn shared(&self) -> &Ensemble {
        self.shared.get_or_init(|| Ensemble::start(self.target)).await
    }

    /// A node at the root of the shared ensemble that no other case has.
    pub(crate) async fn chroot(&self) -> String {
        let chroot = format!("/case-{}", self.spaces.fetch_add(1, Ordering::Relaxed));
        let root = Client::connect(&self.shared().await.connect_string()).await.unwrap();
        root.create(&chroot, b"", CreateMode::Persistent).await.unwrap();
        root.close().await.unwrap();
        chroot
    }

    /// A connect string to the shared ensemble, below a chroot that no other case has.
    pub(crate) async fn space(&self) -> String {
        let chroot = self.chroot().await;
        format!("{}{chroot}", self.shared().await.connect_string())
    }

    /// A client of the shared ensemble, below a chroot that no other case has.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.space().await).await.unwrap()
    }

    /// An ensemble to do harm to. It serves in full when the case gets it.
    pub(crate) async fn taken(&self) -> Taken<'_> {
        let permit = self.may_take.acquire().await.unwrap();
        let idle = self.idle.lock().await.pop();
        let ensemble = match idle {
            Some(mut ensemble) => {
                ensemble.heal().await;
                ensemble
            }
            None => Ensemble::start(self.target).await,
        };
        Taken { suite: self, ensemble: Some(ensemble), _permit: permit }
    }
}

/// Waits until the server of this client has applied everything that any client was told before. A write is what does
/// that on any server: it is applied in its turn. An empty multi changes nothing.
pub(crate) async fn level(client: &Client) {
    client.multi().commit().await.unwrap();
}

/// An ensemble that belongs to one case, which gives it back; after a failure it ends with the case.
pub(crate) struct Taken<'a> {
    suite: &'a Suite,
    ensemble: Option<Ensemble>,
    _permit: SemaphorePermit<'a>,
}

impl Deref for Taken<'_> {
    type Target = Ensemble;

    fn deref(&self) -> &Ensemble {
        self.ensemble.as_ref().unwrap()
    }
}

impl DerefMut for Taken<'_> {
    fn deref_mut(&mut self) -> &mut Ensemble {
        self.ensemble.as_mut().unwrap()
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking()
            && let Ok(mut idle) = self.suite.idle.try_lock()
        {
            idle.extend(self.ensemble.take());
        }
    }
}

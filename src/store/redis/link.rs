//! The connection of this process to one Redis: a thread of its own with a tokio runtime, and what it is asked to run.
//!
//! Whoever calls waits for at most [`ANSWER_WITHIN`]. While there is no connection calls fail at once, and the thread looks for a
//! new one by itself. It knows nothing of Python, and nothing of what a script does. A thread does not survive a fork: the child makes
//! a link of its own.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use redis::{PushInfo, PushKind, RedisResult, Script, Value};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::bell::Bell;
use super::connection::{
    ANSWER_WITHIN, CONNECT_WITHIN, Connection, NO_ANSWER, explain, is_lost, open, too_slow,
};
use super::target::{Door, Target};
use crate::error::{Error, Result};

/// The first wait before a new attempt to connect; it doubles,
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// up to this.
const LAST_RETRY: Duration = Duration::from_secs(1);

/// The links of this process, by URL.
static LINKS: Mutex<Vec<(u32, String, Weak<Link>)>> = Mutex::new(Vec::new());

/// How the connection is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    /// Why there is none; None while there is one.
    pub(crate) failure: Option<String>,
    /// How often it was lost.
    pub(crate) losses: u64,
}

/// A script to be run.
struct Job {
    script: &'static Script,
    keys: Vec<String>,
    arguments: Vec<Vec<u8>>,
    answer: oneshot::Sender<Result<Value>>,
}

enum Order {
    Run(Job),
    /// Have the bell ring when something is published there for that process.
    Listen {
        channel: String,
        process: String,
        bell: Weak<Bell>,
    },
}

/// What the thread shares with whoever has the link.
struct Shared {
    shown: String,
    health: Mutex<Health>,
    /// Rung when the connection is lost or found.
    bells: Mutex<Vec<Weak<Bell>>>,
}

/// The connection of this process to one Redis.
pub(crate) struct Link {
    orders: UnboundedSender<Order>,
    shared: Arc<Shared>,
    target: Target,
}

impl Link {
    /// The link to what is at the URL, made or found. To be called with the interpreter attached, if there is one, so that no fork
    /// comes in between.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the URL names nothing.
    pub(crate) fn to(url: &str) -> Result<Arc<Self>> {
        let pid = std::process::id();
        let mut links = LINKS.lock();
        links.retain(|(owner, _, link)| *owner == pid && link.strong_count() > 0);
        let found = links.iter().find(|(_, known, _)| known == url);
        if let Some(link) = found.and_then(|(_, _, link)| link.upgrade()) {
            return Ok(link);
        }
        let link = Arc::new(Self::start(Target::of(url)?)?);
        links.push((pid, url.to_owned(), Arc::downgrade(&link)));
        Ok(link)
    }

    fn start(target: Target) -> Result<Self> {
        // Where another one is in use already it stays.
        rustls::crypto::ring::default_provider().install_default().ok();
        let (orders, inbox) = unbounded_channel();
        let shown = target.shown().to_owned();
        let health = Mutex::new(Health { failure: Some("not connected yet".to_owned()), losses: 0 });
        let shared = Arc::new(Shared { shown, health, bells: Mutex::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let cannot = |error: std::io::Error| failure(&shared.shown, &error);
        let runtime = runtime.map_err(cannot)?;
        let door = target.door().map_err(|error| failure(&shared.shown, &explain(&error)))?;
        let host = Host { shared: shared.clone(), inbox, listeners: HashMap::new() };
        let body = move || runtime.block_on(host.serve(door));
        thread::Builder::new().name("ratekeeper-redis".to_owned()).spawn(body).map_err(cannot)?;
        Ok(Self { orders, shared, target })
    }

    /// Where it leads, without what is secret.
    pub(crate) fn shown(&self) -> &str {
        self.target.shown()
    }

    /// What all keys begin with.
    pub(crate) fn prefix(&self) -> &str {
        self.target.prefix()
    }

    /// How the connection is.
    pub(crate) fn health(&self) -> Health {
        self.shared.health.lock().clone()
    }

    /// Whether there is a connection.
    pub(crate) fn is_up(&self) -> bool {
        self.shared.health.lock().failure.is_none()
    }

    /// Has the script run, and waits for its answer for as long as it takes, but at most [`ANSWER_WITHIN`]. Not to be called with the
    /// interpreter attached.
    ///
    /// # Errors
    /// [`Error::Shared`] if there is no connection, no answer in time, or the server refuses. Whether the script has run is then not known.
    pub(crate) fn call(
        &self,
        script: &'static Script,
        keys: Vec<String>,
        arguments: Vec<Vec<u8>>,
    ) -> Result<Value> {
        let (answer, answered) = oneshot::channel();
        let job = Job { script, keys, arguments, answer };
        let is_sent = self.orders.send(Order::Run(job)).is_ok();
        let answered = if is_sent { answered.blocking_recv().ok() } else { None };
        answered.unwrap_or_else(|| Err(failure(self.shown(), &"the thread that serves it has ended")))
    }

    /// Has the bell ring when the connection is lost or found, and when something is published on the channel for that process.
    pub(crate) fn listen(&self, channel: String, process: String, bell: &Arc<Bell>) {
        self.shared.bells.lock().push(Arc::downgrade(bell));
        let order = Order::Listen { channel, process, bell: Arc::downgrade(bell) };
        // A thread that has ended rings no more; who calls is told.
        self.orders.send(order).ok();
    }

    /// Waits until there is a connection.
    ///
    /// # Errors
    /// [`Error::Shared`] if there is none after the time that one may take to be made.
    pub(crate) fn wait_until_up(&self) -> Result<()> {
        let bell = Arc::new(Bell::default());
        self.shared.bells.lock().push(Arc::downgrade(&bell));
        let mut is_first = true;
        loop {
            match self.health() {
                Health { failure: None, .. } => return Ok(()),
                Health { failure: Some(what), losses } if losses > 0 || !is_first => {
                    return Err(failure(self.shown(), &what));
                }
                _ => bell.wait(CONNECT_WITHIN + ANSWER_WITHIN),
            }
            is_first = false;
        }
    }
}

/// The thread's part of a link.
struct Host {
    shared: Arc<Shared>,
    inbox: UnboundedReceiver<Order>,
    listeners: HashMap<String, Vec<(String, Weak<Bell>)>>,
}

impl Host {
    /// Connects, serves, and connects again, until nobody has the link any more.
    async fn serve(mut self, mut door: Door) {
        let mut wait = FIRST_RETRY;
        loop {
            let (pushes, arrived) = unbounded_channel();
            let failure = match self.connect(&mut door, pushes).await {
                Ok(connection) => {
                    self.report(None);
                    wait = FIRST_RETRY;
                    match self.run(connection, arrived).await {
                        Some(failure) => failure,
                        None => return,
                    }
                }
                Err(error) => explain(&error),
            };
            self.report(Some(failure));
            if !self.refuse_for(wait).await {
                return;
            }
            wait = (wait * 2).min(LAST_RETRY);
        }
    }

    async fn connect(&self, door: &mut Door, pushes: UnboundedSender<PushInfo>) -> RedisResult<Connection> {
        let connected = timeout(CONNECT_WITHIN, open(door, pushes)).await;
        let mut connection = connected.map_err(|_| too_slow("no connection within a second"))??;
        for channel in self.listeners.keys() {
            connection.subscribe(channel).await?;
        }
        let ping = redis::cmd("PING");
        let answered = timeout(ANSWER_WITHIN, ping.query_async::<String>(&mut connection)).await;
        answered.map_err(|_| too_slow(NO_ANSWER))??;
        Ok(connection)
    }

    /// Runs what is asked for until the connection fails; why, or None where nobody has the link any more.
    async fn run(
        &mut self,
        connection: Connection,
        mut pushed: UnboundedReceiver<PushInfo>,
    ) -> Option<String> {
        let (broken, mut breaks) = unbounded_channel();
        loop {
            tokio::select! {
                order = self.inbox.recv() => match order? {
                    Order::Run(job) => {
                        let (connection, broken) = (connection.clone(), broken.clone());
                        tokio::spawn(run_job(job, connection, self.shared.shown.clone(), broken));
                    }
                    Order::Listen { channel, process, bell } => {
                        if self.add(&channel, process, bell)
                            && let Err(error) = connection.clone().subscribe(&channel).await
                        {
                            return Some(explain(&error));
                        }
                    }
                },
                push = pushed.recv() => match push {
                    Some(push) if push.kind == PushKind::Disconnection => {
                        return Some("the connection was closed".to_owned());
                    }
                    Some(push) => self.ring(&push),
                    None => return Some("the connection was closed".to_owned()),
                },
                why = breaks.recv() => return why,
            }
        }
    }

    /// Whether the channel is new.
    fn add(&mut self, channel: &str, process: String, bell: Weak<Bell>) -> bool {
        let is_new = !self.listeners.contains_key(channel);
        let listeners = self.listeners.entry(channel.to_owned()).or_default();
        listeners.retain(|(_, bell)| bell.strong_count() > 0);
        listeners.push((process, bell));
        is_new
    }

    /// Rings for whom a message is.
    fn ring(&self, push: &PushInfo) {
        let (PushKind::Message, [channel, process]) = (&push.kind, push.data.as_slice()) else { return };
        let text = |value: &Value| redis::from_redis_value::<String>(value.clone()).unwrap_or_default();
        let process = text(process);
        for (listener, bell) in self.listeners.get(&text(channel)).into_iter().flatten() {
            if *listener == process
                && let Some(bell) = bell.upgrade()
            {
                bell.ring();
            }
        }
    }

    /// Refuses what is asked for until it is time to connect again; false where nobody has the link any more.
    async fn refuse_for(&mut self, wait: Duration) -> bool {
        let over = sleep(wait);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return true,
                order = self.inbox.recv() => match order {
                    Some(Order::Run(job)) => {
                        let what = self.shared.health.lock().failure.clone().unwrap_or_default();
                        job.answer.send(Err(failure(&self.shared.shown, &what))).ok();
                    }
                    Some(Order::Listen { channel, process, bell }) => {
                        self.add(&channel, process, bell);
                    }
                    None => return false,
                },
            }
        }
    }

    /// Says how the connection is.
    fn report(&self, failure: Option<String>) {
        {
            let mut health = self.shared.health.lock();
            health.losses += u64::from(failure.is_some() && health.failure.is_none());
            health.failure = failure;
        }
        let mut bells = self.shared.bells.lock();
        bells.retain(|bell| {
            bell.upgrade().is_some_and(|bell| {
                bell.ring();
                true
            })
        });
    }
}

async fn run_job(job: Job, mut connection: Connection, shown: String, broken: UnboundedSender<String>) {
    let mut invocation = job.script.prepare_invoke();
    for key in &job.keys {
        invocation.key(key);
    }
    for argument in job.arguments {
        invocation.arg(argument);
    }
    let answered = timeout(ANSWER_WITHIN, invocation.invoke_async::<Value>(&mut connection)).await;
    let answered = answered.unwrap_or_else(|_| Err(too_slow(NO_ANSWER)));
    let answer = answered.map_err(|error| {
        let what = explain(&error);
        if is_lost(&error) {
            // Nobody listens any more where it was found broken already.
            broken.send(what.clone()).ok();
        }
        failure(&shown, &what)
    });
    // Who asked may have gone.
    job.answer.send(answer).ok();
}

fn failure(shown: &str, what: &dyn std::fmt::Display) -> Error {
    Error::Shared { store: shown.to_owned(), what: what.to_string() }
}

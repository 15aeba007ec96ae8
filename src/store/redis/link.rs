//! The connection of this process to one Redis: a thread of its own with a tokio runtime, and what it is asked to run.
//!
//! Whoever calls waits for a bounded time. While there is no connection calls fail at once, and the thread looks for a
//! new one by itself. It knows nothing of Python, and nothing of what a script does. A thread does not survive a fork: the child makes
//! a link of its own.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{PushInfo, PushKind, RedisResult, Script, Value};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::bell::Bell;
use super::connection::{
    ANSWER_WITHIN, CONNECT_WITHIN, Connection, NO_ANSWER, explain, is_lost, open, too_slow, try_out,
};
use super::standing::Standing;
use super::target::{Door, Target};
use crate::error::{Error, Result};
use crate::spawn::spawn;
use crate::store::{Condition, Policy, Turn};

/// The first wait before a new attempt to connect; it doubles,
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// up to this.
const LAST_RETRY: Duration = Duration::from_secs(1);

/// How long a script may take, each round trip of it being bounded by [`ANSWER_WITHIN`]: there are three where the server has to be told the
/// script first.
const SCRIPT_WITHIN: Duration = Duration::from_millis(1_500);

/// The links of this process, by URL.
static LINKS: Mutex<Vec<(u32, String, Weak<Link>)>> = Mutex::new(Vec::new());

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

/// The connection of this process to one Redis.
pub(crate) struct Link {
    orders: UnboundedSender<Order>,
    standing: Arc<Standing>,
    target: Target,
    /// The process that has the thread.
    owner: u32,
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
        let standing = Arc::new(Standing::new(target.shown()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let cannot = |error: std::io::Error| standing.error(&error);
        let runtime = runtime.map_err(cannot)?;
        let door = target.door().map_err(|error| standing.error(&explain(&error)))?;
        let prefix = target.prefix().to_owned();
        let host = Host { standing: standing.clone(), prefix, inbox, listeners: HashMap::new() };
        let body = move || runtime.block_on(host.serve(door));
        spawn("ratekeeper-redis", body).map_err(cannot)?;
        Ok(Self { orders, standing, target, owner: std::process::id() })
    }

    /// Whether it is this process's, and not that of one that has forked it.
    pub(crate) fn is_own(&self) -> bool {
        self.owner == std::process::id()
    }

    /// Where it leads, without what is secret.
    pub(crate) fn shown(&self) -> &str {
        self.target.shown()
    }

    /// What all keys begin with.
    pub(crate) fn prefix(&self) -> &str {
        self.target.prefix()
    }

    /// Why the server cannot be asked; None if it can.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.standing.failure()
    }

    /// How it stands, for people.
    pub(crate) fn condition(&self) -> Condition {
        self.standing.condition()
    }

    /// What is done while it is lost.
    pub(crate) fn set_policy(&self, policy: Policy) {
        self.standing.set_policy(policy);
    }

    /// So many processes use it, and so many calls more were granted without it.
    pub(crate) fn count(&self, processes: Option<u32>, granted_alone: u64) {
        self.standing.count(processes, granted_alone);
    }

    /// Which of the servers that this process uses were lost and came back since this was last asked.
    pub(crate) fn turns() -> Vec<Turn> {
        let links: Vec<Arc<Self>> = LINKS.lock().iter().filter_map(|(_, _, link)| link.upgrade()).collect();
        // What is left of a parent's is not ours to touch.
        let links = links.iter().filter(|link| link.is_own());
        links.flat_map(|link| link.standing.take_turns()).collect()
    }

    /// Has the script run, and waits for its answer for as long as it takes, but at most
    /// [`SCRIPT_WITHIN`]. Not to be called with the
    /// interpreter attached.
    ///
    /// # Errors
    /// [`Error::Store`] if there is no connection, no answer in time, or the server refuses. Whether the script has run is then not known.
    pub(crate) fn call(
        &self,
        script: &'static Script,
        keys: Vec<String>,
        arguments: Vec<Vec<u8>>,
    ) -> Result<Value> {
        let (answer, answered) = oneshot::channel();
        let job = Job { script, keys, arguments, answer };
        let is_sent = self.is_own() && self.orders.send(Order::Run(job)).is_ok();
        let answered = if is_sent { answered.blocking_recv().ok() } else { None };
        answered.unwrap_or_else(|| Err(self.standing.error(&"the thread that serves it has ended")))
    }

    /// Has the bell ring when the connection is lost or found, and when something is published on the channel for that process.
    pub(crate) fn listen(&self, channel: String, process: String, bell: &Arc<Bell>) {
        self.standing.ring_for(bell);
        let order = Order::Listen { channel, process, bell: Arc::downgrade(bell) };
        // A thread that has ended rings no more; who calls is told.
        self.orders.send(order).ok();
    }

    /// Waits until there is a connection.
    ///
    /// # Errors
    /// [`Error::Store`] if there is none after the time that one may take to be made.
    pub(crate) fn wait_until_up(&self) -> Result<()> {
        let bell = Arc::new(Bell::default());
        self.standing.ring_for(&bell);
        while !self.standing.is_up() {
            self.standing.failure().map_or(Ok(()), Err)?;
            bell.wait(CONNECT_WITHIN + ANSWER_WITHIN);
        }
        Ok(())
    }
}

/// The thread's part of a link.
struct Host {
    standing: Arc<Standing>,
    prefix: String,
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
                    self.standing.found();
                    match self.run(connection, arrived).await {
                        Some(Break { is_lost, what }) => {
                            // Another connection helps only if this one was at fault.
                            wait = if is_lost { FIRST_RETRY } else { LAST_RETRY };
                            what
                        }
                        None => return,
                    }
                }
                Err(error) => explain(&error),
            };
            self.standing.lost(failure);
            if !self.refuse_for(wait).await {
                return;
            }
            wait = (wait * 2).min(LAST_RETRY);
        }
    }

    async fn connect(&self, door: &mut Door, pushes: UnboundedSender<PushInfo>) -> RedisResult<Connection> {
        let connected = timeout(CONNECT_WITHIN, open(door, pushes)).await;
        let mut connection = connected.map_err(|_| too_slow("no connection within a second"))??;
        let channels: Vec<&String> = self.listeners.keys().collect();
        if !channels.is_empty() {
            connection.subscribe(&channels).await?;
        }
        try_out(&mut connection, &self.prefix).await?;
        Ok(connection)
    }

    /// Runs what is asked for until the connection fails; why, or None where nobody has the link any more.
    async fn run(
        &mut self,
        connection: Connection,
        mut pushed: UnboundedReceiver<PushInfo>,
    ) -> Option<Break> {
        let (broken, mut breaks) = unbounded_channel();
        loop {
            tokio::select! {
                order = self.inbox.recv() => match order? {
                    Order::Run(job) => {
                        let (connection, broken) = (connection.clone(), broken.clone());
                        tokio::spawn(run_job(job, connection, self.standing.clone(), broken));
                    }
                    Order::Listen { channel, process, bell } => {
                        if self.add(&channel, process, bell)
                            && let Err(error) = self.listen(connection.clone(), &channel).await
                        {
                            return Some(Break { is_lost: true, what: explain(&error) });
                        }
                    }
                },
                push = pushed.recv() => match push {
                    Some(push) if push.kind == PushKind::Disconnection => {
                        return Some(Break::closed());
                    }
                    Some(push) => self.ring(&push),
                    None => return Some(Break::closed()),
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

    /// The channels to which nobody listens any more.
    fn forget_deserted(&mut self) -> Vec<String> {
        let is_deserted =
            |listeners: &[(String, Weak<Bell>)]| listeners.iter().all(|(_, bell)| bell.strong_count() == 0);
        let deserted = self.listeners.extract_if(|_, listeners| is_deserted(listeners));
        deserted.map(|(channel, _)| channel).collect()
    }

    /// Has the server say what is published on a channel, and no more what nobody listens to.
    async fn listen(&mut self, mut connection: Connection, channel: &str) -> RedisResult<()> {
        connection.subscribe(channel).await?;
        let deserted = self.forget_deserted();
        if deserted.is_empty() { Ok(()) } else { connection.unsubscribe(&deserted).await }
    }

    fn refusal(&self) -> Error {
        self.standing.failure().unwrap_or_else(|| self.standing.error(&NO_ANSWER))
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
                        job.answer.send(Err(self.refusal())).ok();
                    }
                    Some(Order::Listen { channel, process, bell }) => {
                        self.add(&channel, process, bell);
                    }
                    None => return false,
                },
            }
        }
    }
}

/// Why a connection is given up.
struct Break {
    /// Whether the connection itself failed, so that another may do better.
    is_lost: bool,
    what: String,
}

impl Break {
    fn closed() -> Self {
        Self { is_lost: true, what: "the connection was closed".to_owned() }
    }
}

async fn run_job(
    job: Job,
    mut connection: Connection,
    standing: Arc<Standing>,
    broken: UnboundedSender<Break>,
) {
    let mut invocation = job.script.prepare_invoke();
    for key in &job.keys {
        invocation.key(key);
    }
    for argument in job.arguments {
        invocation.arg(argument);
    }
    let answered = timeout(SCRIPT_WITHIN, invocation.invoke_async::<Value>(&mut connection)).await;
    let answered = answered.unwrap_or_else(|_| Err(too_slow(NO_ANSWER)));
    let answer = match answered {
        Ok(value) => {
            standing.succeeded();
            Ok(value)
        }
        Err(error) => {
            let what = explain(&error);
            let failure = standing.error(&what);
            // Nobody listens any more where it was found broken already.
            broken.send(Break { is_lost: is_lost(&error), what }).ok();
            Err(failure)
        }
    };
    // Who asked may have gone.
    job.answer.send(answer).ok();
}

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
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::store::health::Health;
use crate::store::{Condition, Policy, Turn};

/// The first wait before a new attempt to connect; it doubles,
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// up to this.
const LAST_RETRY: Duration = Duration::from_secs(1);

/// The links of this process, by URL.
static LINKS: Mutex<Vec<(u32, String, Weak<Link>)>> = Mutex::new(Vec::new());

/// How the connection is.
enum State {
    New,
    Up,
    /// Why there is none.
    Down(String),
}

/// What is known of the server, and what people are to hear of it.
struct Standing {
    state: State,
    health: Health,
    policy: Policy,
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
    standing: Mutex<Standing>,
    /// Rung when the connection is lost or found.
    bells: Mutex<Vec<Weak<Bell>>>,
}

/// The connection of this process to one Redis.
pub(crate) struct Link {
    orders: UnboundedSender<Order>,
    shared: Arc<Shared>,
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
        let shown = target.shown().to_owned();
        let standing = Standing { state: State::New, health: Health::default(), policy: Policy::default() };
        let shared = Arc::new(Shared { shown, standing: Mutex::new(standing), bells: Mutex::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let cannot = |error: std::io::Error| failure(&shared.shown, &error);
        let runtime = runtime.map_err(cannot)?;
        let door = target.door().map_err(|error| failure(&shared.shown, &explain(&error)))?;
        let host = Host { shared: shared.clone(), inbox, listeners: HashMap::new() };
        let body = move || runtime.block_on(host.serve(door));
        thread::Builder::new().name("ratekeeper-redis".to_owned()).spawn(body).map_err(cannot)?;
        Ok(Self { orders, shared, target, owner: std::process::id() })
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
        match &self.shared.standing.lock().state {
            State::Down(what) => Some(failure(self.shown(), what)),
            State::New | State::Up => None,
        }
    }

    /// How it stands, for people.
    pub(crate) fn condition(&self) -> Condition {
        let Standing { health, policy, .. } = &*self.shared.standing.lock();
        health.condition(self.shown().to_owned(), *policy, SystemClock.now())
    }

    /// What is done while it is lost.
    pub(crate) fn set_policy(&self, policy: Policy) {
        self.shared.standing.lock().policy = policy;
    }

    /// So many processes use it, and so many calls more were granted without it.
    pub(crate) fn count(&self, processes: Option<u32>, granted_alone: u64) {
        let health = &mut self.shared.standing.lock().health;
        health.processes = processes.unwrap_or(health.processes);
        health.granted_alone += granted_alone;
    }

    /// Which of the servers that this process uses were lost and came back since this was last asked.
    pub(crate) fn turns() -> Vec<Turn> {
        let links: Vec<Arc<Self>> = LINKS.lock().iter().filter_map(|(_, _, link)| link.upgrade()).collect();
        // What is left of a parent's may be locked by a thread that stayed with it.
        let links = links.iter().filter(|link| link.is_own());
        links.flat_map(|link| link.shared.standing.lock().health.take_turns()).collect()
    }

    /// Has the script run, and waits for its answer for as long as it takes, but at most [`ANSWER_WITHIN`]. Not to be called with the
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
    /// [`Error::Store`] if there is none after the time that one may take to be made.
    pub(crate) fn wait_until_up(&self) -> Result<()> {
        let bell = Arc::new(Bell::default());
        self.shared.bells.lock().push(Arc::downgrade(&bell));
        loop {
            match &self.shared.standing.lock().state {
                State::Up => return Ok(()),
                State::Down(what) => return Err(failure(self.shown(), what)),
                State::New => {}
            }
            bell.wait(CONNECT_WITHIN + ANSWER_WITHIN);
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
                    self.is_up();
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
            self.is_down(failure);
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
    ) -> Option<Break> {
        let (broken, mut breaks) = unbounded_channel();
        loop {
            tokio::select! {
                order = self.inbox.recv() => match order? {
                    Order::Run(job) => {
                        let (connection, broken) = (connection.clone(), broken.clone());
                        tokio::spawn(run_job(job, connection, self.shared.clone(), broken));
                    }
                    Order::Listen { channel, process, bell } => {
                        if self.add(&channel, process, bell)
                            && let Err(error) = connection.clone().subscribe(&channel).await
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
                        job.answer.send(Err(self.shared.failure())).ok();
                    }
                    Some(Order::Listen { channel, process, bell }) => {
                        self.add(&channel, process, bell);
                    }
                    None => return false,
                },
            }
        }
    }

    fn is_up(&self) {
        {
            let Standing { state, health, .. } = &mut *self.shared.standing.lock();
            if matches!(state, State::New) {
                health.begins(SystemClock.now());
            }
            health.opened();
            *state = State::Up;
        }
        self.shared.ring();
    }

    fn is_down(&self, what: String) {
        {
            let Standing { state, health, policy } = &mut *self.shared.standing.lock();
            // What was never there is not lost.
            if !matches!(state, State::New) {
                let why = failure(&self.shared.shown, &what);
                health.failed(&why, self.shared.shown.clone(), *policy, SystemClock.now());
            }
            *state = State::Down(what);
        }
        self.shared.ring();
    }
}

impl Shared {
    fn failure(&self) -> Error {
        match &self.standing.lock().state {
            State::Down(what) => failure(&self.shown, what),
            State::New | State::Up => failure(&self.shown, &NO_ANSWER),
        }
    }

    /// A script has run.
    fn succeeded(&self) {
        let Standing { health, policy, .. } = &mut *self.standing.lock();
        health.succeeded(|| self.shown.clone(), *policy, SystemClock.now());
    }

    fn ring(&self) {
        self.bells.lock().retain(|bell| {
            let bell = bell.upgrade();
            bell.inspect(|bell| bell.ring()).is_some()
        });
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

async fn run_job(job: Job, mut connection: Connection, shared: Arc<Shared>, broken: UnboundedSender<Break>) {
    let mut invocation = job.script.prepare_invoke();
    for key in &job.keys {
        invocation.key(key);
    }
    for argument in job.arguments {
        invocation.arg(argument);
    }
    let answered = timeout(ANSWER_WITHIN, invocation.invoke_async::<Value>(&mut connection)).await;
    let answered = answered.unwrap_or_else(|_| Err(too_slow(NO_ANSWER)));
    let answer = match answered {
        Ok(value) => {
            shared.succeeded();
            Ok(value)
        }
        Err(error) => {
            let what = explain(&error);
            let failure = failure(&shared.shown, &what);
            // Nobody listens any more where it was found broken already.
            broken.send(Break { is_lost: is_lost(&error), what }).ok();
            Err(failure)
        }
    };
    // Who asked may have gone.
    job.answer.send(answer).ok();
}

fn failure(shown: &str, what: &dyn std::fmt::Display) -> Error {
    Error::shared(shown, what.to_string())
}

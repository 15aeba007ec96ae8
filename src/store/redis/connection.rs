//! A connection to a server, or to those of a cluster: how it is made, and what it means that it fails.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, ProtocolVersion, PushInfo, RedisError, RedisFuture,
};
use redis::{RedisResult, ServerErrorKind, ToRedisArgs, Value};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::timeout;

use super::target::Door;

/// How long a connection may take to be made.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long an answer may take: a Redis that is slower is of no use, for it would hold up every call by as much.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// What a connection is tried with: it takes the memory, the place and the permissions that our scripts need.
const TRIAL: &str = "redis.call('PUBLISH', KEYS[1], '') return redis.call('SET', KEYS[1], '', 'PX', 1)";

/// A connection to one server, or to all of a cluster.
#[derive(Clone)]
pub(super) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(super) async fn subscribe(&mut self, channels: impl ToRedisArgs) -> RedisResult<()> {
        match self {
            Self::Single(connection) => connection.subscribe(channels).await,
            Self::Cluster(connection) => connection.subscribe(channels).await,
        }
    }

    pub(super) async fn unsubscribe(&mut self, channels: impl ToRedisArgs) -> RedisResult<()> {
        match self {
            Self::Single(connection) => connection.unsubscribe(channels).await,
            Self::Cluster(connection) => connection.unsubscribe(channels).await,
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) => connection.req_packed_commands(commands, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

pub(super) async fn open(door: &mut Door, pushes: UnboundedSender<PushInfo>) -> RedisResult<Connection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_WITHIN))
        .set_response_timeout(Some(ANSWER_WITHIN))
        .set_push_sender(pushes.clone());
    Ok(match door {
        Door::Single(client) => {
            Connection::Single(client.get_multiplexed_async_connection_with_config(&config).await?)
        }
        Door::Sentinel(client) => Connection::Single(client.get_async_connection_with_config(&config).await?),
        Door::Cluster(nodes) => {
            let cluster = ClusterClient::builder(nodes.clone())
                .connection_timeout(CONNECT_WITHIN)
                .response_timeout(ANSWER_WITHIN)
                .use_protocol(ProtocolVersion::RESP3)
                .push_sender(pushes)
                .retries(1)
                .build()?;
            Connection::Cluster(cluster.get_async_connection().await?)
        }
    })
}

/// Whether the server does what is needed; one that answers may yet be a replica, or full.
pub(super) async fn try_out(connection: &mut Connection, prefix: &str) -> RedisResult<()> {
    let mut trial = redis::cmd("EVAL");
    trial.arg(TRIAL).arg(1).arg(format!("{{{prefix}/trial}}"));
    let tried = timeout(ANSWER_WITHIN, trial.query_async::<()>(connection)).await;
    tried.map_err(|_| too_slow(NO_ANSWER))?
}

pub(super) const NO_ANSWER: &str = "no answer within half a second";

pub(super) fn too_slow(what: &'static str) -> RedisError {
    RedisError::from((ErrorKind::Io, what))
}

/// Whether another connection may be better than this one.
pub(super) fn is_lost(error: &RedisError) -> bool {
    let kinds = [
        ErrorKind::Io,
        ErrorKind::Server(ServerErrorKind::ReadOnly),
        ErrorKind::Server(ServerErrorKind::MasterDown),
        ErrorKind::Server(ServerErrorKind::BusyLoading),
        ErrorKind::ClusterConnectionNotFound,
        ErrorKind::AuthenticationFailed,
    ];
    kinds.contains(&error.kind()) || error.is_unrecoverable_error() || error.is_timeout()
}

/// What went wrong, and what to do, for people. What the server says never has a password in it.
pub(super) fn explain(error: &RedisError) -> String {
    let said = error.detail().unwrap_or_default();
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => {
            format!("it refuses the user name or the password in the URL ({said})")
        }
        (_, Some("NOPERM")) => format!(
            "its user may not do what is needed: allow eval, evalsha, script, get, set, publish and subscribe, on all keys and channels that begin with {{ and the prefix ({said})"
        ),
        (_, Some("OOM")) => {
            "it has no memory left: raise maxmemory, and keep maxmemory-policy at noeviction".to_owned()
        }
        (_, Some("READONLY")) => {
            "it is a replica, which cannot be written: name the primary, or the sentinels".to_owned()
        }
        _ if error.is_connection_refusal() => {
            "nothing answers there: start it, or correct the address".to_owned()
        }
        (ErrorKind::UnexpectedReturnType | ErrorKind::Parse, _) => {
            "what answers there is no Redis, or wants TLS (rediss://): look at the port".to_owned()
        }
        _ if error.is_timeout() => {
            "no answer in time: it is overloaded, or a firewall is in between".to_owned()
        }
        _ => explain_line(&error.to_string()),
    }
}

/// The same for what the system says of the line.
fn explain_line(said: &str) -> String {
    if said.contains("lookup address") {
        return "no host has that name here: look at its spelling, and at this machine's DNS".to_owned();
    }
    if said.contains("UnknownIssuer") {
        return "its certificate is not trusted here: name the file of its authority in SSL_CERT_FILE"
            .to_owned();
    }
    if said.contains("reset by peer") {
        return format!("{said}; if it never worked, the port may want TLS (rediss://)");
    }
    said.to_owned()
}

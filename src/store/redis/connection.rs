//! A connection to a server, or to those of a cluster: how it is made, and what it means that it fails.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, ProtocolVersion, PushInfo, RedisError, RedisFuture,
};
use redis::{RedisResult, ServerErrorKind, Value};
use tokio::sync::mpsc::UnboundedSender;

use super::target::Door;

/// How long a connection may take to be made.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long an answer may take: a Redis that is slower is of no use, for it would hold up every call by as much.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// A connection to one server, or to all of a cluster.
#[derive(Clone)]
pub(super) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(super) async fn subscribe(&mut self, channel: &str) -> RedisResult<()> {
        match self {
            Self::Single(connection) => connection.subscribe(channel).await,
            Self::Cluster(connection) => connection.subscribe(channel).await,
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
            "its user may not do what is needed: allow eval, evalsha, script, get, set, publish and subscribe ({said})"
        ),
        (_, Some("OOM")) => {
            "it has no memory left: raise maxmemory, and keep maxmemory-policy at noeviction".to_owned()
        }
        (_, Some("READONLY")) => {
            "it is a replica, which cannot be written: name the primary, or the sentinels".to_owned()
        }
        _ if error.is_connection_refusal() => {
            "nothing answers there: is it running, and the address right?".to_owned()
        }
        _ => error.to_string(),
    }
}

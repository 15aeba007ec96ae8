//! Where a Redis store is, as its URL says. No I/O.

use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, TlsMode};
use url::Url;

use crate::error::{Error, Result};

/// Keys begin with this, unless the URL says otherwise.
const PREFIX: &str = "ratekeeper";
const DEFAULT_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// The longest prefix: it is part of every key.
const LONGEST_PREFIX: usize = 64;
/// What may stand in the query: our prefix, and what redis-rs reads of a Unix socket.
const SETTINGS: [&str; 4] = ["prefix", "db", "user", "pass"];
const EXPECTED: &str = "redis://, rediss://, unix://, redis+cluster:// or redis+sentinel:// and where the server is, such as \
    \"redis://:password@host:6379/0\"";

/// What is at the URL.
enum Kind {
    Single(ConnectionInfo),
    Cluster(Vec<ConnectionInfo>),
    Sentinel { nodes: Vec<ConnectionInfo>, service: String, is_tls: bool },
}

/// Where the store is.
pub(crate) struct Target {
    kind: Kind,
    prefix: String,
    shown: String,
}

/// How to get a connection to it.
pub(super) enum Door {
    Single(Box<Client>),
    Cluster(Vec<ConnectionInfo>),
    Sentinel(Box<SentinelClient>),
}

impl Target {
    /// Whether a URL names such a store.
    pub(crate) fn is_named_by(url: &str) -> bool {
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        scheme.starts_with("redis") || scheme.starts_with("valkey") || scheme == "unix"
    }

    /// What a URL names.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that names nothing; what may be a password is not in it.
    pub(crate) fn of(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("no scheme"))?;
        let scheme = scheme.replace("valkey", "redis");
        let (base, is_many) = match scheme.split_once('+') {
            Some((base, kind @ ("cluster" | "sentinel"))) => (base.to_owned(), Some(kind.to_owned())),
            _ => (scheme, None),
        };
        // Several hosts are no URL: the first stands for all, and the others are put into its place.
        let (hosts, one) = if is_many.is_some() { hosts_of(rest) } else { (Vec::new(), rest.to_owned()) };
        let mut parsed = Url::parse(&format!("{base}://{one}")).map_err(|_| wrong("none"))?;
        let prefix = take_prefix(&mut parsed)?;
        let shown = shown(url, &parsed, &hosts);
        let kind = match is_many.as_deref() {
            None => Kind::Single(info_of(parsed)?),
            Some("cluster") => Kind::Cluster(each(&parsed, &hosts, DEFAULT_PORT)?),
            Some(_) => {
                let service = take_service(&mut parsed)?;
                let nodes = each(&parsed, &hosts, SENTINEL_PORT)?;
                Kind::Sentinel { nodes, service, is_tls: parsed.scheme() == "rediss" }
            }
        };
        Ok(Self { kind, prefix, shown })
    }

    /// The URL without what is secret.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// What all keys begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The way to it.
    pub(super) fn door(&self) -> redis::RedisResult<Door> {
        Ok(match &self.kind {
            Kind::Single(info) => Door::Single(Box::new(Client::open(info.clone())?)),
            Kind::Cluster(nodes) => Door::Cluster(nodes.clone()),
            Kind::Sentinel { nodes, service, is_tls } => {
                Door::Sentinel(Box::new(sentinel(nodes, service, *is_tls)?))
            }
        })
    }
}

fn sentinel(nodes: &[ConnectionInfo], service: &str, is_tls: bool) -> redis::RedisResult<SentinelClient> {
    let addresses: Vec<ConnectionAddr> = nodes.iter().map(|node| node.addr().clone()).collect();
    let mut builder = SentinelClientBuilder::new(addresses, service, SentinelServerType::Master)?;
    builder = builder.set_client_to_redis_protocol(ProtocolVersion::RESP3);
    if let Some(first) = nodes.first().map(ConnectionInfo::redis_settings) {
        builder = builder.set_client_to_redis_db(first.db());
        if let Some(user) = first.username() {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = first.password() {
            builder = builder.set_client_to_redis_password(password);
        }
    }
    if is_tls {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        builder = builder.set_client_to_sentinel_tls_mode(TlsMode::Secure);
    }
    builder.build()
}

/// The hosts of `user:password@a:1,b:2/path`, and the same with the first of them alone.
fn hosts_of(rest: &str) -> (Vec<String>, String) {
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
    let hosts: Vec<String> = hosts.split(',').map(str::to_owned).collect();
    let at = if user.is_empty() { "" } else { "@" };
    (hosts.clone(), format!("{user}{at}{}{path}", hosts[0]))
}

/// The same with each host in its place.
fn each(parsed: &Url, hosts: &[String], port: u16) -> Result<Vec<ConnectionInfo>> {
    let place = |host: &String| {
        let mut one = parsed.clone();
        let (name, given) = match host.rsplit_once(':') {
            Some((name, given)) => (name, given.parse().map_err(|_| wrong("a port that is no number"))?),
            None => (host.as_str(), port),
        };
        one.set_host(Some(name)).map_err(|_| wrong("a host that is none"))?;
        one.set_port(Some(given)).map_err(|()| wrong("a port that is none"))?;
        info_of(one)
    };
    hosts.iter().map(place).collect()
}

fn info_of(url: Url) -> Result<ConnectionInfo> {
    // What redis-rs says of it may quote it.
    let info = url.into_connection_info().map_err(|error| wrong(error.category()))?;
    // With this protocol what is published comes over the connection that there is.
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(settings))
}

/// The service of `/service/database`, of which the database is left.
fn take_service(parsed: &mut Url) -> Result<String> {
    let path = parsed.path().trim_start_matches('/').to_owned();
    let (service, database) = path.split_once('/').unwrap_or((&path, ""));
    if service.is_empty() {
        return Err(wrong("no service after the sentinels, as in redis+sentinel://host:26379/mymaster/0"));
    }
    parsed.set_path(database);
    Ok(service.to_owned())
}

/// Takes `prefix=` out of the query.
fn take_prefix(parsed: &mut Url) -> Result<String> {
    let pairs: Vec<(String, String)> =
        parsed.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
    let prefix = pairs.iter().find(|(key, _)| key == "prefix").map_or(PREFIX, |(_, value)| value.as_str());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
    if prefix.is_empty() || prefix.len() > LONGEST_PREFIX || !prefix.chars().all(is_plain) {
        return Err(wrong(
            "a prefix that is empty, longer than 64 characters, or has others than letters, digits and -_.:/",
        ));
    }
    let prefix = prefix.to_owned();
    if pairs.iter().any(|(key, _)| !SETTINGS.contains(&key.as_str())) {
        return Err(wrong("a setting after the question mark that is not known; there is prefix"));
    }
    let others = pairs.iter().filter(|(key, _)| key != "prefix");
    let others: Vec<String> = others.map(|(key, value)| format!("{key}={value}")).collect();
    parsed.set_query((!others.is_empty()).then(|| others.join("&")).as_deref());
    Ok(prefix)
}

fn shown(url: &str, parsed: &Url, hosts: &[String]) -> String {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    let hosts = if hosts.is_empty() {
        let port = parsed.port().map_or_else(String::new, |port| format!(":{port}"));
        format!("{}{port}", parsed.host_str().unwrap_or_default())
    } else {
        hosts.join(",")
    };
    format!("{scheme}://{hosts}{}", parsed.path())
}

fn wrong(got: &str) -> Error {
    Error::invalid("store", EXPECTED, got)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown_of(url: &str) -> String {
        Target::of(url).unwrap().shown().to_owned()
    }

    #[test]
    fn what_is_secret_is_never_shown() {
        for url in [
            "redis://user:secret@host:6380/2?prefix=app",
            "rediss://:secret@host/0",
            "redis+cluster://user:secret@a:1,b:2",
            "redis+sentinel://:secret@a,b:7/mymaster/3",
        ] {
            assert!(!shown_of(url).contains("secret"), "{}", shown_of(url));
        }
        assert_eq!(shown_of("redis://user:secret@host:6380/2?prefix=app"), "redis://host:6380/2");
        assert_eq!(shown_of("valkey+cluster://:secret@a:1,b:2"), "valkey+cluster://a:1,b:2");
    }

    #[test]
    fn each_kind_of_server_is_understood() {
        let kinds = |url: &str| Target::of(url).unwrap().kind;
        assert!(
            matches!(kinds("redis://host"), Kind::Single(info) if info.addr().to_string() == "host:6379")
        );
        assert!(matches!(kinds("unix:///run/redis.sock"), Kind::Single(_)));
        assert!(matches!(kinds("redis+cluster://a,b:2"), Kind::Cluster(nodes)
            if nodes.iter().map(|node| node.addr().to_string()).eq(["a:6379", "b:2"])));
        assert!(matches!(kinds("redis+sentinel://a,b:2/main/4"), Kind::Sentinel { nodes, service, .. }
            if service == "main" && nodes[0].redis_settings().db() == 4
                && nodes.iter().map(|node| node.addr().to_string()).eq(["a:26379", "b:2"])));
    }

    #[test]
    fn a_prefix_is_taken_out_of_the_query() {
        assert_eq!(Target::of("redis://host/1?prefix=my-app").unwrap().prefix(), "my-app");
        assert_eq!(Target::of("redis://host").unwrap().prefix(), "ratekeeper");
        for url in [
            "redis://host?prefix=",
            "redis://host?prefix=a{b}",
            "redis://",
            "redis+sentinel://a",
            "redis://h:x",
        ] {
            let error = Target::of(url).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.starts_with("store: expected redis://"), "{url}: {error:?}");
        }
    }
}

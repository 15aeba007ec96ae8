"""Whose quota it is, without ever keeping the key that says so.

Owns the fingerprint of an API key. May not store, log or return a raw key.
"""

from __future__ import annotations

from .base import Provider

#: Separates our fingerprints from any other use of the hash. Not a secret: API keys are too long to be
#: guessed from a hash.
_FINGERPRINT_KEY = b"ratekeeper/account/1"
_FINGERPRINT_BYTES = 6


def fingerprint(api_key: str, *, organization: str = "") -> str:
    """Twelve hex digits that stand for an API key (and the organisation or project it is used for).

    The same key gives the same digits in every process and on every host, so replicas agree on whose quota it
    is.
    """
    from hashlib import blake2b  # noqa: PLC0415 (OpenSSL: not at import)

    data = api_key.encode("utf-8", "surrogatepass") + b"\0" + organization.encode("utf-8", "surrogatepass")
    return blake2b(data, key=_FINGERPRINT_KEY, digest_size=_FINGERPRINT_BYTES).hexdigest()


def account_of(
    provider: Provider,
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    organization: str | None = None,
) -> str:
    """The account part of a scope: the key's fingerprint, with the host where that is not the provider's own.

    Args:
        provider: The API in question.
        api_key: The raw key; only its fingerprint leaves this function. None or "" if the client has none.
        base_url: Where requests go; None for the provider's own host. Port included, user names and paths
            left out.
        organization: What else the client sends to say whose quota it is (OpenAI organisation and project).

    Returns:
        Such as ``"3f9a0c52e17b"``, ``"3f9a0c52e17b@localhost:8000"``, or for Azure
        ``"name.openai.azure.com"``.
    """
    host = _host(base_url)
    if host and provider.account_is_host:
        return host
    account = fingerprint(api_key, organization=organization or "") if api_key else "default"
    return f"{account}@{host}" if host and host not in provider.default_hosts else account


def _host(base_url: str | None) -> str:
    """Host and port of a URL in lower case, without user name, password, path or query."""
    if not base_url:
        return ""
    rest = base_url.split("://", 1)[-1]
    for end in "/?#":
        rest = rest.split(end, 1)[0]
    return rest.rsplit("@", 1)[-1].lower()

"""Stores behind TLS: `rediss://` checks the certificate against the system's, or those that SSL_CERT_FILE names."""

import pytest
import servers as real
import trustme

PROGRAM = """
import os, ratekeeper as rk
try:
    limiter = rk.RateLimiter(rk.Quota(concurrency=3), name="shared", store=os.environ["STORE"])
    held = limiter.acquire().wait()
    print(limiter.status()["in_flight"], limiter.status()["store"]["url"])
except rk.StoreError as error:
    print(error)
"""


@pytest.fixture
def secure(servers, tmp_path):
    """The URL of a server that speaks TLS, the certificate that it is checked against, and the server."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    own = authority.issue_cert("localhost")
    own.private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    pem, port = tmp_path / "own.pem", real.free_port()
    files = {"tls_cert_file": pem, "tls_key_file": pem, "tls_ca_cert_file": tmp_path / "ca.pem"}
    server = servers.server("redis", "s3cret", tls_port=port, tls_auth_clients="no", **files)
    return f"rediss://:s3cret@localhost:{port}/0", tmp_path / "ca.pem", server


def test_a_server_whose_certificate_is_trusted_keeps_the_quota(secure, script, finish, monkeypatch):
    url, authority, server = secure
    monkeypatch.setenv("STORE", url)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    assert finish(script(PROGRAM)) == (0, f"1 {url.replace(':s3cret@', '')}\n", "")
    assert server.command("DBSIZE") > 0


def test_a_server_whose_certificate_nobody_vouches_for_is_told_nothing(secure, script, finish, monkeypatch):
    url, _, server = secure
    monkeypatch.setenv("STORE", url)
    code, said, errors = finish(script(PROGRAM))
    assert (code, errors) == (0, "")
    assert "its certificate is not trusted here" in said
    assert "SSL_CERT_FILE" in said
    assert "s3cret" not in said
    assert server.command("DBSIZE") == 0


def test_a_certificate_for_another_host_is_refused(secure, script, finish, monkeypatch):
    url, authority, _ = secure
    monkeypatch.setenv("STORE", url.replace("localhost", "127.0.0.1"))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    code, said, errors = finish(script(PROGRAM))
    assert (code, errors) == (0, "")
    assert "certificate is only valid for" in said


def test_a_port_that_wants_tls_says_so_to_those_without(secure, script, finish, monkeypatch):
    url, _, _ = secure
    monkeypatch.setenv("STORE", url.replace("rediss", "redis"))
    code, said, errors = finish(script(PROGRAM))
    assert (code, errors) == (0, "")
    assert "may want TLS (rediss://)" in said

"""`ratekeeper.toml` and the environment: what they can say, and what is said to whoever gets them wrong."""

import pytest

import ratekeeper as rk
from ratekeeper import config

FULL = """
name = "service"
headroom = 0.5
lease_ttl = 900
timeout = 60.0
slow_wait = 5

[quota]
rpm = 500
tpm = 200_000
concurrency = 16

[quotas."openai/gpt-4o-mini"]
rpm = 5000
limits = [{ dimension = "tokens", amount = 2_000_000, per = "minute", burst = 500_000 }]

[accounts.openai]
rpd = 10_000

[families]
gpt-4o = ["openai/gpt-4o", "openai/gpt-4o-2024-*"]

[tenants.acme]
tpm = 50_000

[weights]
acme = 2
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Loads a file's text, with an environment of its own."""
    monkeypatch.chdir(tmp_path)

    def load(text, environ=None):
        path = tmp_path / "any.toml"
        path.write_bytes(text.encode())
        return config.load(path, environ or {})

    return load


def limits_of(quota):
    return {(limit.dimension, limit.per): (limit.amount, limit.burst) for limit in quota.limits}


def test_every_argument_of_a_keeper_but_its_functions_can_stand_in_the_file(load):
    settings = load(FULL)
    assert limits_of(settings["quota"]) == {
        ("requests", 60.0): (500, 500),
        ("tokens", 60.0): (200_000, 200_000),
    }
    assert settings["quota"].concurrency == 16
    assert limits_of(settings["quotas"]["openai/gpt-4o-mini"]) == {
        ("requests", 60.0): (5000, 5000),
        ("tokens", 60.0): (2_000_000, 500_000),
    }
    assert limits_of(settings["accounts"]["openai"]) == {("requests", 86400.0): (10_000, 10_000)}
    assert settings["families"] == {"gpt-4o": ("openai/gpt-4o", "openai/gpt-4o-2024-*")}
    assert limits_of(settings["tenants"]["acme"]) == {("tokens", 60.0): (50_000, 50_000)}
    assert settings["weights"] == {"acme": 2.0}
    rest = {name: settings[name] for name in ("name", "headroom", "lease_ttl", "timeout", "slow_wait")}
    assert rest == {"name": "service", "headroom": 0.5, "lease_ttl": 900.0, "timeout": 60.0, "slow_wait": 5.0}


@pytest.mark.parametrize("rate", config.RATES)
def test_each_rate_has_its_dimension_and_period(load, rate):
    [limit] = load(f"[quota]\n{rate} = 7")["quota"].limits
    dimension = {"r": "requests", "t": "tokens", "it": "input_tokens", "ot": "output_tokens"}[
        rate[: rate.index("p")]
    ]
    period = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}[rate[-1]]
    assert (limit.dimension, limit.per, limit.amount) == (dimension, period, 7)


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("qouta = 1", "qouta", "did you mean 'quota'?"),
        ("[quota]\nrmp = 5", "quota.rmp", "did you mean 'rpm'?"),
        ('[quotas."openai/gpt-4o"]\nzzz = 1', 'quotas."openai/gpt-4o".zzz', "known are rps, rpm"),
        ("[quota]\nrpm = 0", "quota.rpm", "a whole number from 1 to 1000000000000, got 0"),
        ("[quota]\nrpm = -5", "quota.rpm", "got -5"),
        ("[quota]\nrpm = 5.5", "quota.rpm", "got 5.5"),
        ("[quota]\nrpm = nan", "quota.rpm", "got nan"),
        ("[quota]\nrpm = true", "quota.rpm", "got True"),
        ('[quota]\nrpm = "500"', "quota.rpm", "got '500'"),
        ("[quota]\ntpm = 99999999999999", "quota.tpm", "got 99999999999999"),
        ("[quota]\nconcurrency = 0", "quota.concurrency", "got 0"),
        ("quota = 500", "quota", "expected a table"),
        ("[quota]", "quota", "at least one of rpm"),
        ('[quotas."gpt-4o"]\nrpm = 1', "quotas", "a pattern such as"),
        ("[accounts.openai]\nrpd = 0", "accounts.openai.rpd", "got 0"),
        ('[tenants."ac me"]\ntpm = []', 'tenants."ac me".tpm', "got []"),
        ("[weights]\nacme = 0", "weights.acme", "a number from 0.01"),
        ("[weights]\nacme = nan", "weights.acme", "got nan"),
        ("[weights]\nacme = inf", "weights.acme", "got inf"),
        ('[families]\ng = "openai/gpt-4o"', "families.g", "a list of patterns"),
        ("[families]\ng = []", "families.g", "at least one pattern"),
        ('[families]\ng = ["gpt-4o"]', "families.g[0]", "a pattern such as"),
        ('[families]\n"openai/g" = ["openai/x"]', 'families."openai/g"', 'without "/"'),
        ("headroom = -1", "headroom", "seconds from 0"),
        ("headroom = nan", "headroom", "got nan"),
        ("timeout = 0", "timeout", "seconds above 0"),
        ("lease_ttl = 99999999", "lease_ttl", "up to 2678400"),
        ('slow_wait = "10"', "slow_wait", "got '10'"),
        ('name = ""', "name", "a text that is not empty"),
        ("[quota]\nlimits = 5", "quota.limits", "a list of tables"),
        ("[quota]\nlimits = [5]", "quota.limits[0]", "a table"),
        ("[quota]\nlimits = [{ amount = 5 }]", "quota.limits[0].dimension", "is missing"),
        ('[quota]\nlimits = [{ dimension = "tokens" }]', "quota.limits[0].amount", "is missing"),
        ('[quota]\nlimits = [{ dimension = "tokens", amount = 0 }]', "quota.limits[0].amount", "got 0"),
        ('[quota]\nlimits = [{ dimension = "tokns", amount = 5 }]', "quota.limits[0].dimension", "tokns"),
        (
            '[quota]\nlimits = [{ dimension = "tokens", amount = 5, per = "fortnight" }]',
            "quota.limits[0].per",
            "fortnight",
        ),
        ('[quota]\nlimits = [{ dimension = "tokens", amount = 5, per = -1 }]', "quota.limits[0].per", "-1"),
        (
            '[quota]\nlimits = [{ dimension = "tokens", amount = 5, brust = 1 }]',
            "quota.limits[0].brust",
            "'burst'",
        ),
        (
            '[quota]\nrpm = 5\nlimits = [{ dimension = "requests", amount = 5 }]',
            "quota.limits",
            "one limit per",
        ),
    ],
)
def test_a_wrong_setting_is_named_in_full_with_what_was_expected(load, text, field, message):
    with pytest.raises(rk.ConfigError) as caught:
        load(text)
    assert caught.value.field == field
    assert str(caught.value).startswith(field)
    assert message in str(caught.value)


def test_a_file_that_is_no_toml_or_no_text_says_where(tmp_path):
    path = tmp_path / "broken.toml"
    for content in (b"[quota\nrpm = 1", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(rk.ConfigError, match=r"broken\.toml is no valid TOML"):
            config.load(path, {})


def test_a_named_file_must_be_there_and_the_default_one_need_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config.load(None, {}) == {}
    with pytest.raises(rk.ConfigError, match=r"path: cannot read .*absent\.toml"):
        config.load("absent.toml", {})
    with pytest.raises(rk.ConfigError, match=r"RATEKEEPER_CONFIG: cannot read .*absent\.toml"):
        config.load(None, {"RATEKEEPER_CONFIG": "absent.toml"})
    (tmp_path / "ratekeeper.toml").write_text("[quota")
    with pytest.raises(rk.ConfigError, match=r"^ratekeeper\.toml: .* is no valid TOML"):
        config.load(None, {})


def test_the_file_is_found_by_argument_then_environment_then_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, rpm in (("ratekeeper.toml", 1), ("env.toml", 2), ("arg.toml", 3)):
        (tmp_path / name).write_text(f"[quota]\nrpm = {rpm}")

    def rpm(path, environ):
        return config.load(path, environ)["quota"].limits[0].amount

    env = {"RATEKEEPER_CONFIG": "env.toml"}
    assert [rpm(None, {}), rpm(None, env), rpm("arg.toml", env)] == [1, 2, 3]


def test_the_environment_wins_over_the_file_key_by_key(load):
    environ = {
        "RATEKEEPER_RPM": "5",
        "RATEKEEPER_CONCURRENCY": "2",
        "RATEKEEPER_TIMEOUT": "1.5",
        "RATEKEEPER_HEADROOM": "0",
    }
    settings = load(FULL, environ)
    assert limits_of(settings["quota"]) == {("requests", 60.0): (5, 5), ("tokens", 60.0): (200_000, 200_000)}
    assert (settings["quota"].concurrency, settings["timeout"], settings["headroom"]) == (2, 1.5, 0.0)


def test_the_environment_alone_is_enough(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = config.load(None, {"RATEKEEPER_TPM": "200_000", "RATEKEEPER_RPM": ""})
    assert limits_of(settings["quota"]) == {("tokens", 60.0): (200_000, 200_000)}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("RATEKEEPER_RPM", "many", "RATEKEEPER_RPM: expected a whole number .* got 'many'"),
        ("RATEKEEPER_RPM", "0", "RATEKEEPER_RPM: .* got 0"),
        ("RATEKEEPER_CONCURRENCY", "1000001", "RATEKEEPER_CONCURRENCY: .* to 1000000, got 1000001"),
        ("RATEKEEPER_TPM", "1e6", "RATEKEEPER_TPM: .* got '1e6'"),
        ("RATEKEEPER_TIMEOUT", "nan", "RATEKEEPER_TIMEOUT: .* got nan"),
        ("RATEKEEPER_RMP", "5", "RATEKEEPER_RMP: no such setting; did you mean RATEKEEPER_RPM?"),
        ("RATEKEEPER_CONCURENCY", "5", "did you mean RATEKEEPER_CONCURRENCY?"),
    ],
)
def test_a_wrong_variable_is_named(load, name, value, message):
    with pytest.raises(rk.ConfigError, match=message) as caught:
        load("", {name: value})
    assert caught.value.field == name


def test_what_kubernetes_sets_for_a_service_of_that_name_is_left_alone(load):
    environ = {"RATEKEEPER_PORT": "tcp://10.0.0.1:80", "RATEKEEPER_SERVICE_HOST": "10.0.0.1", "PATH": "/bin"}
    assert load("", environ) == {}


def test_a_keeper_comes_from_the_file_and_arguments_win(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ratekeeper.toml").write_text(FULL)
    keeper = rk.Keeper.from_config(name="other", headroom=0)
    assert keeper.name == "other"
    status = keeper.limiter("openai/acct/gpt-4o-mini").status()
    assert {limit["dimension"]: limit["limit"] for limit in status["limits"]} == {
        "requests": 5000,
        "tokens": 2_000_000,
    }
    assert status["within"]["limits"][0]["limit"] == 10_000


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("[retry]\nattempts = 3\nwait_max = 5", rk.RetryPolicy(attempts=3, wait_max=5.0)),
        ("[retry]\njitter = 'equal'", rk.RetryPolicy(jitter="equal")),
        ("retry = false", None),
    ],
)
def test_the_retry_policy_is_a_table_or_false(load, text, policy):
    assert load(text) == {"retry": policy}


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[retry]\nattempts = 0", "retry.attempts"),
        ("[retry]\nattemps = 3", "retry.attemps"),
        ("[retry]\njitter = 'none'", "retry.jitter"),
        ("retry = true", "retry"),
    ],
)
def test_a_retry_policy_that_cannot_be_is_refused_by_name(load, text, field):
    with pytest.raises(rk.ConfigError) as caught:
        load(text)
    assert caught.value.field == field

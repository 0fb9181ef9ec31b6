"""Where an identity comes from, and that no pickle or text carries it."""

from __future__ import annotations

import pickle
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from osstorchconnector import OssCheckpoint, credentials
from osstorchconnector.credentials import (
    AnonymousCredentials,
    EnvironmentCredentials,
    ProcessCredentials,
    StaticCredentials,
)
from osstorchconnector.errors import CredentialsError

SECRET = "canary-secret"


class Attributes:
    access_key_id = "id"
    access_key_secret = SECRET
    security_token = ""

    def get_credentials(self):
        return self


class Getters:
    def get_credentials(self):
        return self

    def get_access_key_id(self):
        return "id"

    def get_access_key_secret(self):
        return SECRET

    def get_security_token(self):
        return "token"


def provider_of(answer):
    return SimpleNamespace(get_credentials=lambda: answer)


@pytest.fixture(autouse=True)
def _fresh_warnings(monkeypatch):
    monkeypatch.setattr(credentials, "_said", set())


@pytest.mark.parametrize(
    ("provider", "token"),
    [
        (Attributes(), None),
        (Getters(), "token"),
        (provider_of({"access_key_id": "id", "access_key_secret": SECRET, "security_token": "t"}), "t"),
        (provider_of(SimpleNamespace(access_key_id="id", access_key_secret=SECRET)), None),
        (lambda: {"access_key_id": "id", "access_key_secret": SECRET}, None),
        (StaticCredentials("id", SECRET, "t"), "t"),
    ],
)
def test_every_style_of_provider_is_read(provider, token):
    assert credentials.fetch(provider) == ("id", SECRET, token, None)


@pytest.mark.parametrize(
    "value",
    [
        datetime(2030, 1, 1, tzinfo=timezone.utc),
        datetime(2030, 1, 1),  # noqa: DTZ001  (providers return naive times that mean UTC)
        datetime(2030, 1, 1, 8, tzinfo=timezone(timedelta(hours=8))),
        1893456000,
        1893456000.0,
        "2030-01-01T00:00:00Z",
        "2030-01-01T08:00:00+08:00",
    ],
)
@pytest.mark.parametrize("name", ["expiration", "expiration_time"])
def test_every_form_of_expiry_is_read(name, value):
    answer = {"access_key_id": "id", "access_key_secret": SECRET, name: value}
    assert credentials.fetch(provider_of(answer))[3] == 1893456000.0


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "returned None"),
        ({"access_key_id": "", "access_key_secret": SECRET}, "no access_key_id"),
        ({"access_key_id": "id", "access_key_secret": None}, "no access_key_secret"),
        ({"access_key_id": 3, "access_key_secret": SECRET}, "not text"),
        ({"access_key_id": "id", "access_key_secret": SECRET, "expiration": "soon"}, "expiration"),
        (object(), "no access_key_id"),
    ],
)
def test_an_incomplete_answer_is_an_error_without_values(answer, said):
    with pytest.raises(CredentialsError) as refused:
        credentials.fetch(provider_of(answer))
    assert said in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_tuple_is_a_type_error():
    with pytest.raises(TypeError, match="tuple"):
        credentials.fetch(provider_of(("id", SECRET)))


def test_a_provider_that_raises_is_chained():
    def broken():
        raise OSError("no metadata service")

    with pytest.raises(CredentialsError, match="raised OSError") as refused:
        credentials.fetch(broken)
    assert isinstance(refused.value.__cause__, OSError)


def test_what_cannot_provide_is_refused_at_once():
    with pytest.raises(CredentialsError, match="get_credentials"):
        credentials.choose("", object())


def test_the_file_wins_over_the_provider_with_one_warning(caplog):
    for _ in range(2):
        source = credentials.choose("/file", Attributes())
    assert source.native() == ("file", "/file")
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("path", "provider", "native"),
    [
        ("", None, ("chain",)),
        (None, None, ("chain",)),
        ("", AnonymousCredentials(), ("anonymous",)),
        ("", EnvironmentCredentials(), ("environment",)),
    ],
)
def test_sources_become_what_the_native_client_takes(path, provider, native):
    assert credentials.choose(path, provider).native() == native


def test_a_provider_becomes_a_callable_and_its_name():
    kind, ask, name = credentials.choose("", Getters()).native()
    assert (kind, name) == ("provider", "Getters")
    assert ask() == ("id", SECRET, "token", None)
    assert SECRET not in repr(ask)


def test_no_repr_and_no_pickle_shows_a_secret():
    static = StaticCredentials("id", SECRET)
    assert SECRET not in repr(static)
    assert SECRET not in repr(credentials.choose("", static))
    with pytest.raises(TypeError, match="allow_pickle_secrets"):
        pickle.dumps(static)
    with pytest.raises(TypeError, match="allow_pickle_secrets"):
        pickle.dumps(credentials.choose("", static))


def test_static_credentials_pickle_when_they_are_allowed_to():
    static = StaticCredentials("id", SECRET, allow_pickle_secrets=True)
    assert credentials.fetch(pickle.loads(pickle.dumps(static)))[:2] == ("id", SECRET)


def test_an_unpicklable_provider_says_what_to_do():
    with pytest.raises(TypeError, match="define it at the top of a module"):
        pickle.dumps(credentials.choose("", lambda: None))


def test_a_source_pickles_by_reference():
    again = pickle.loads(pickle.dumps(credentials.choose("", Attributes())))
    assert SECRET.encode() not in pickle.dumps(again)
    assert again.native()[1]()[:2] == ("id", SECRET)


def test_empty_static_keys_are_refused():
    with pytest.raises(CredentialsError):
        StaticCredentials("id", "")


class Raises:
    def get_credentials(self):
        raise OSError("no metadata service")


class Tuple:
    def get_credentials(self):
        return "id", SECRET


def refusal(site, **given):
    """What reading an object with these credentials raises."""
    site.fill({"a": b"data"})
    reader = OssCheckpoint(site.arguments["endpoint"], region=site.arguments["region"], **given).reader(
        "/bucket/a"
    )
    with pytest.raises((CredentialsError, TypeError)) as refused:
        reader.read()
    assert SECRET not in str(refused.value)
    return refused.value


def test_what_a_provider_raised_is_the_cause_and_is_said_once(site):
    error = refusal(site, cred_provider=Raises())
    assert isinstance(error, CredentialsError)
    assert str(error).count("raised") == 1
    assert "cred_provider Raises raised OSError; fix the provider" in str(error)
    assert isinstance(error.__cause__, OSError)
    assert str(error.__cause__) == "no metadata service"


class Chatty:
    """A provider whose errors say too much, in several lines."""

    def get_credentials(self):
        raise ValueError("no expiry in the answer:\n{'AccessKeySecret': 'hush-7731'}")


def test_what_a_provider_says_about_its_failure_is_not_in_the_error(site, caplog):
    error = refusal(site, cred_provider=Chatty())
    assert len(str(error).splitlines()) == 1
    assert "raised ValueError" in str(error)
    assert "hush-7731" not in str(error) + caplog.text


def answer_that_raises(part, raised):
    """Return an answer of which one part is looked up by code that fails, and says too much."""

    def fail(_self):
        raise raised

    parts = {"access_key_id": "id", "access_key_secret": SECRET, "security_token": "t"}
    return type("Answer", (), {**parts, part: property(fail)})()


@pytest.mark.parametrize(
    "part",
    ["access_key_id", "access_key_secret", "security_token", "expiration", "expiration_time", "__class__"],
)
@pytest.mark.parametrize("kind", [ValueError, TypeError, CredentialsError, SystemExit])
def test_what_a_part_of_an_answer_raises_is_the_cause_and_is_not_in_the_error(part, kind, site, caplog):
    raised = kind("unexpected answer {'AccessKeySecret': 'hush-7731'}")
    error = refusal(site, cred_provider=provider_of(answer_that_raises(part, raised)))
    assert type(error) is CredentialsError
    assert f"raised {kind.__name__}; fix the provider" in str(error)
    assert error.__cause__ is raised
    assert len(str(error).splitlines()) == 1
    assert "hush-7731" not in str(error) + caplog.text


def test_a_providers_tuple_is_a_type_error_for_its_user(site):
    assert isinstance(refusal(site, cred_provider=Tuple()), TypeError)


@pytest.mark.parametrize("name", ["access_key_id", "access_key_secret", "security_token"])
@pytest.mark.parametrize("character", [" ", "\n", "\r\nX-Oss-Acl: public-read", "é"])
def test_characters_that_no_key_has_are_refused_before_anything_is_sent(name, character, site):
    keys = {"access_key_id": "id", "access_key_secret": SECRET, "security_token": "token"}
    error = refusal(site, cred_provider=provider_of({**keys, name: SECRET + character}))
    assert isinstance(error, CredentialsError)
    assert name.replace("_", " ") in str(error)
    assert site.oss.requests() == []


def test_text_that_is_none_is_refused_without_being_shown(site):
    keys = {"access_key_id": "id", "access_key_secret": SECRET + "\udc80"}
    error = refusal(site, cred_provider=provider_of(keys))
    assert isinstance(error, CredentialsError)
    assert "SimpleNamespace" in str(error)
    assert "UnicodeEncodeError" in str(error)


def test_a_field_of_another_type_is_named(site, tmp_path):
    (tmp_path / "c").write_text('{"AccessKeyId": "id", "AccessKeySecret": 7}')
    assert "AccessKeySecret is not a string" in str(refusal(site, cred_path=tmp_path / "c"))


@pytest.mark.shows_keys("a pickle carries the command, as its documentation says")
def test_a_process_is_run_by_the_native_client_and_its_command_is_not_shown():
    provider = ProcessCredentials(f"vault {SECRET}")
    assert credentials.choose("", provider).native() == ("process", f"vault {SECRET}")
    assert SECRET not in repr(provider)
    assert SECRET not in repr(credentials.choose("", provider))
    assert pickle.loads(pickle.dumps(provider)).command == provider.command
    with pytest.raises(CredentialsError, match="empty"):
        ProcessCredentials(" ")

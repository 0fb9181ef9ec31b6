"""TLS that cannot be trusted or is damaged, and proxies that refuse, hang and lie: F21, F22, F23."""

from __future__ import annotations

import socket
import threading

import pytest
from reading import SHORT, by_iterable, by_map, by_stream, content, quick

from osstorchconnector import OssCheckpoint, OssClient
from osstorchconnector.errors import ConfigError, ConnectionFailedError, ProtocolError, UploadError

DATA = content(300_000)
URI = "oss://bucket/a"
# A name that no resolver knows: only a proxy leads there.
NOWHERE = "oss-cn-local.nowhere.invalid"
READERS = [by_stream, by_map, by_iterable]


@pytest.fixture
def certificate(secure_site):
    yield secure_site.oss.certificate
    secure_site.oss.certificate("good")


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("expired", "it has expired"),
        ("wrong_host", "it is for another name"),
        ("self_signed", "no trusted authority signed it"),
    ],
)
def test_f21_a_certificate_that_cannot_be_trusted_ends_it_at_once(kind, said, read, secure_site, certificate):
    [uri] = secure_site.fill({"a": DATA})
    certificate(kind)
    with pytest.raises(ConnectionFailedError, match=said) as refused:
        read(uri, quick(secure_site))
    assert refused.value.attempts == 1
    assert secure_site.oss.requests() == []


def test_f21_an_authority_that_nobody_named_is_not_trusted(secure_site, monkeypatch):
    [uri] = secure_site.fill({"a": DATA})
    for name in ("PYTHONHTTPSVERIFY", "CURL_INSECURE", "SSL_NO_VERIFY"):
        monkeypatch.setenv(name, "0")
    with pytest.raises(ConnectionFailedError, match=r"network\.caFile") as refused:
        by_map(uri, quick(secure_site, caFile=""))
    assert refused.value.attempts == 1


def test_f21_a_file_of_authorities_that_cannot_be_used_is_named(secure_site, tmp_path):
    [uri] = secure_site.fill({"a": DATA})
    (tmp_path / "empty").touch()
    for file, said in ((tmp_path / "nowhere", "No such file"), (tmp_path / "empty", "holds no certificate")):
        with pytest.raises(ConfigError, match=rf"network\.caFile {file}.*{said}.*; correct it"):
            by_map(uri, quick(secure_site, caFile=str(file)))


def test_f21_a_peer_of_the_last_century_is_refused(secure_site):
    """It answers every hello with the alert `protocol_version`, as a server of TLS 1.1 does."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            for _ in range(8):
                try:
                    peer, _ = listening.accept()
                except OSError:
                    return
                with peer:
                    peer.recv(4096)
                    peer.sendall(b"\x15\x03\x02\x00\x02\x02\x46")

        threading.Thread(target=serve, daemon=True).start()
        endpoint = f"https://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(ConnectionFailedError, match="ProtocolVersion") as refused:
            by_map("oss://bucket/a", {**quick(secure_site), "endpoint": endpoint})
    assert refused.value.attempts == 1


def proxied(site, scheme="https", user="", **network):
    """Return arguments that lead through the emulator's proxy."""
    proxy = site.oss.proxy.replace("http://", f"http://{user}")
    return {**quick(site, proxy=proxy, **network), "endpoint": f"{scheme}://{NOWHERE}"}


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("after_bytes", [60_000, 150_000])
def test_f22_a_damaged_or_cut_record_is_resumed_on_another_connection(after_bytes, flip, read, secure_site):
    [uri] = secure_site.fill({"a": DATA})
    damage = {"after_bytes": after_bytes, "flip": flip, "times": 1}
    secure_site.oss.proxy_behaves(damage=damage)
    assert read(uri, proxied(secure_site)) == DATA
    assert len(secure_site.oss.proxy_asked()) >= 2


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", ["site", "secure_site"])
def test_f23_a_proxy_is_gone_through_with_its_user(kind, read, request):
    site = request.getfixturevalue(kind)
    [uri] = site.fill({"a": DATA})
    site.oss.proxy_behaves(user="us er:p@ss")
    scheme = "http" if kind == "site" else "https"
    assert read(uri, proxied(site, scheme, "us%20er:p%40ss@")) == DATA
    assert all(NOWHERE in target for target in site.oss.proxy_asked())


@pytest.mark.parametrize("kind", ["site", "secure_site"])
@pytest.mark.parametrize(
    ("behaviour", "said", "is_final"),
    [
        ({"user": "somebody:else"}, "user and a password", True),
        ({"status": 403, "body": "<html>canary</html>"}, "NO_PROXY", True),
        ({"status": 502, "body": "<html>canary</html>"}, "status 502", False),
    ],
)
def test_f23_what_a_proxy_refuses_is_told_as_the_proxys(behaviour, said, is_final, kind, request):
    site = request.getfixturevalue(kind)
    [uri] = site.fill({"a": DATA})
    site.oss.proxy_behaves(**behaviour)
    arguments = proxied(site, "http" if kind == "site" else "https", "canary:canary@", **SHORT)
    with pytest.raises(ConnectionFailedError, match=said) as refused:
        by_map(uri, arguments)
    text = str(refused.value)
    assert f"via proxy {site.oss.proxy.removeprefix('http://')}" in text
    assert "canary" not in text
    assert (refused.value.attempts == 1) is is_final


def test_f23_the_environments_proxy_is_used_and_no_proxy_honoured(secure_site, monkeypatch):
    [uri] = secure_site.fill({"a": DATA})
    arguments = {**quick(secure_site), "endpoint": f"https://{NOWHERE}"}
    monkeypatch.setenv("https_proxy", secure_site.oss.proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert by_map(uri, arguments) == DATA
    asked = len(secure_site.oss.proxy_asked())
    assert asked >= 1
    monkeypatch.setenv("NO_PROXY", ".invalid")
    with pytest.raises(ConnectionFailedError):
        by_map(uri, arguments)
    assert len(secure_site.oss.proxy_asked()) == asked


def log_in_page(site):
    """Let the proxy answer everything as one does whose user has not logged in."""
    page = "<html>canary: please log in</html>"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(page)}\r\n\r\n"
    site.oss.proxy_behaves(raw=head + page)


@pytest.mark.parametrize("read", READERS)
def test_f23_a_web_page_with_a_good_status_is_never_an_object(read, site):
    [uri] = site.fill({"a": DATA})
    log_in_page(site)
    with pytest.raises(ProtocolError) as refused:
        read(uri, proxied(site, "http", **SHORT))
    assert "canary" not in str(refused.value)


def test_f23_a_web_page_with_a_good_status_is_never_a_saved_object(site):
    log_in_page(site)
    saving = OssCheckpoint(**proxied(site, "http", deadlineSeconds=1, settleSeconds=1))
    with pytest.raises(UploadError, match="OSS did not answer") as refused, saving.writer(URI) as writer:
        writer.write(b"x")
    # The look at the key met the same page: what passed it before cannot be told.
    assert refused.value.state == "unknown"
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("operation", ["head_object", "remove_object"])
def test_f23_a_web_page_with_a_good_status_answers_nothing_about_an_object(operation, site):
    log_in_page(site)
    client = OssClient(**proxied(site, "http", deadlineSeconds=1))
    with pytest.raises(ProtocolError, match="OSS did not answer") as refused:
        getattr(client, operation)("bucket", "a")
    assert "canary" not in str(refused.value)


def test_an_endpoint_in_clear_is_refused_where_https_is_required(site):
    with pytest.raises(ConfigError, match="clear text"):
        by_map("oss://bucket/a", quick(site, requireHttps=True))


@pytest.mark.parametrize(
    "proxy", ["socks5://user:canary@h:1", "https://user:canary@h:1", "http://user:canary@"]
)
def test_f23_a_proxy_that_is_not_spoken_is_a_config_error(proxy, site, monkeypatch):
    with pytest.raises(ConfigError, match=r"network\.proxy") as refused:
        by_map("oss://bucket/a", quick(site, proxy=proxy))
    assert "canary" not in str(refused.value)
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.delenv("http_proxy", raising=False)
    with pytest.raises(ConfigError, match="HTTP_PROXY") as refused:
        by_map("oss://bucket/a", {**quick(site), "endpoint": f"http://{NOWHERE}"})
    assert "canary" not in str(refused.value)

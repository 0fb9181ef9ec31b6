"""Name lookup and TLS, tried apart from any request: which of the two fails is said, and what to do about it."""

from __future__ import annotations

import queue
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from osstorchconnector.cli.doctor.findings import Finding
from osstorchconnector.cli.doctor.surroundings import is_address, kind_of

if TYPE_CHECKING:
    from osstorchconnector.config import ClientConfig
    from osstorchconnector.connection import OssStore

_LOOKUP_SECONDS = 5.0
_CONNECT_SECONDS = 5.0
_SLOW_LOOKUP_SECONDS = 0.5
_DAY_SECONDS = 86_400
_SOON_DAYS = 14


def asked_host(store: OssStore, bucket: str, addressing: str) -> tuple[str, int]:
    """Return host and port that requests for a bucket are sent to."""
    parts = urlsplit(store.endpoint)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    is_virtual = addressing == "virtual" or (
        addressing == "auto" and not is_address(host) and host != "localhost"
    )
    return (f"{bucket}.{host}" if bucket and is_virtual else host), port


def lookup(store: OssStore, host: str) -> Finding:
    """Look the host up, as the C library does."""
    if store.native.proxy is not None:
        return Finding("name", "ok", f"{host} is looked up by the proxy")
    if is_address(host):
        return Finding("name", "ok", f"{host} is an address, there is nothing to look up")
    began = time.monotonic()
    found = _looked_up(host)
    seconds = time.monotonic() - began
    if isinstance(found, OSError) or found is None:
        reason = f"no answer for {_LOOKUP_SECONDS:.0f} s" if found is None else found.strerror or str(found)
        return Finding("name", "wrong", f"{host}: {reason}", _remedy(host))
    facts = {"host": host, "addresses": found, "seconds": round(seconds, 4)}
    text = f"{host} has {len(found)} address(es), found in {seconds * 1000:.1f} ms: {', '.join(found[:4])}"
    if seconds >= _SLOW_LOOKUP_SECONDS:
        remedy = "each process asks again every now and then: look at /etc/resolv.conf, or run a cache beside the job"
        return Finding("name", "look", text, remedy, facts)
    return Finding("name", "ok", text, facts=facts)


def _looked_up(host: str) -> list[str] | OSError | None:
    """Return addresses, the failure, or None if there was no answer in time: the C library knows no limit."""
    answer: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            answer.put(list(dict.fromkeys(str(row[4][0]) for row in rows)))
        except OSError as failure:
            answer.put(failure)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answer.get(timeout=_LOOKUP_SECONDS)
    except queue.Empty:
        return None


def _remedy(host: str) -> str:
    if kind_of(host) == "internal":
        return (
            "internal endpoints are known inside Alibaba Cloud alone: elsewhere use the one without -internal"
        )
    return "check the endpoint's spelling, and /etc/resolv.conf of this machine or pod"


def tls(store: OssStore, host: str, port: int, config: ClientConfig) -> Finding:
    """Shake hands, and look at the certificate."""
    if not store.endpoint.startswith("https://"):
        return Finding("tls", "ok", "not spoken: the endpoint is http://")
    ca_file = config.options.get("ca_file")
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as failure:
        key = f"{config.keys['ca_file']} in {config.source}"
        reason = failure.strerror or str(failure)
        return Finding(
            "tls", "wrong", f"{key}: {ca_file}: {reason}", "name a file of certificates in PEM there"
        )
    if store.native.proxy is not None:
        return Finding("tls", "ok", "spoken through the proxy: the requests below show it")
    try:
        with (
            socket.create_connection((host, port), _CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            certificate, version = secure.getpeercert() or {}, secure.version()
    except ssl.SSLCertVerificationError as failure:
        return Finding(
            "tls",
            "wrong",
            f"the certificate of {host} is not trusted: {failure.verify_message}",
            "a private authority goes into network.caFile of the config file; a wrong name or date is the endpoint's, or "
            "that of a machine in between",
        )
    except OSError as failure:
        reason = failure.strerror or str(failure)
        return Finding("tls", "wrong", f"{host}:{port}: {reason}", "check port, firewall and proxy")
    return _judged(host, version, certificate)


def _judged(host: str, version: str | None, certificate: Any) -> Finding:
    days = int((ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) // _DAY_SECONDS)
    issuer = {name: value for part in certificate.get("issuer", ()) for name, value in part}
    signer = issuer.get("organizationName") or issuer.get("commonName") or "?"
    text = f"{version} with {host}, certificate by {signer}, good for {days} days"
    facts = {"version": version, "issuer": signer, "days": days}
    if days < _SOON_DAYS:
        return Finding("tls", "look", text, "whoever runs this endpoint is to renew its certificate", facts)
    return Finding("tls", "ok", text, facts=facts)

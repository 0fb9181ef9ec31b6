"""What the machine and the environment say before anything is sent: packages, config file, endpoint, region, proxy."""

from __future__ import annotations

import ipaddress
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from osstorchconnector import config as config_file
from osstorchconnector import vendor
from osstorchconnector.cli.doctor.findings import Finding

if TYPE_CHECKING:
    from osstorchconnector.config import ClientConfig
    from osstorchconnector.connection import OssStore

# What an instance of Alibaba Cloud calls itself.
_PRODUCT = "/sys/class/dmi/id/product_name"
# What the native side remarks on a region that is not the host's; then comes what to do.
_CONTRADICTION = " contradicts the endpoint "


def packages() -> Finding:
    """Name this package, and the vendor's of the same name if it is there too."""
    from osstorchconnector import __version__

    here = str(Path(vendor.__file__).resolve().parent.parent)
    text = f"osstorchconnector {__version__} in {here}, Python {platform.python_version()}"
    found = vendor.places(sys.path)
    facts = {"version": __version__, "directory": here, "vendor": found}
    if not found:
        return Finding("packages", "ok", text, facts=facts)
    return Finding(
        "packages",
        "look",
        f"{text}; the vendor's package of the same name lies in {' and '.join(found)}: the path decides which is imported",
        "pip uninstall osstorchconnector until none is left, then install one",
        facts,
    )


def config(given: ClientConfig) -> Finding:
    """Name the config file."""
    if not given.source:
        text = f"none, the defaults hold ({config_file.DEFAULT_PATH} is not there)"
        return Finding("config", "ok", text, facts={"file": None})
    keys = sorted(given.keys.values())
    text = f"{given.source}: {', '.join(keys) if keys else 'nothing that changes a default'}"
    return Finding("config", "ok", text, facts={"file": given.source, "keys": keys})


def endpoint(store: OssStore, given: str | None, region: str) -> Finding:
    """Say which endpoint, why it, and whether it is the one from inside."""
    text = store.endpoint
    kind = kind_of(host_of(text))
    why = (
        "--endpoint names it"
        if given is not None
        else "OSS_ENDPOINT names it"
        if os.environ.get("OSS_ENDPOINT")
        else "made of OSS_REGION"
    )
    facts = {"endpoint": text, "why": why, "kind": kind, "on_ecs": is_on_ecs()}
    line = f"{text}, {_WORDS[kind]}; {why}"
    if kind == "public" and is_on_ecs():
        return Finding(
            "endpoint",
            "look",
            f"{line}; this machine is an ECS instance",
            f"in the bucket's region use https://oss-{region}-internal.aliyuncs.com: faster, and its traffic is free",
            facts,
        )
    if kind == "public" and text.startswith("http://"):
        return Finding("endpoint", "look", f"{line}, in clear text", f"use https://{host_of(text)}", facts)
    return Finding("endpoint", "ok", line, facts=facts)


_WORDS = {
    "internal": "the internal one: it is reached from inside the region alone",
    "accelerate": "the one for transfers over the world, which costs extra",
    "public": "the public one",
    "address": "an address or a name of this machine",
    "own": "a name of your own",
}


def kind_of(host: str) -> str:
    """Sort a host by its name: a key of `_WORDS`."""
    if is_address(host) or host == "localhost":
        return "address"
    if not host.endswith(".aliyuncs.com"):
        return "own"
    if "-internal." in host or host.startswith("vpc100-"):
        return "internal"
    return "accelerate" if host.startswith("oss-accelerate") else "public"


def host_of(url: str) -> str:
    """Return the host of an endpoint, with or without a scheme."""
    return urlsplit(url if "://" in url else f"//{url}").hostname or ""


def is_address(host: str) -> bool:
    """Say whether a host is a number and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_on_ecs(product_file: str = _PRODUCT) -> bool:
    """Say whether this machine calls itself an ECS instance."""
    try:
        return "Alibaba Cloud ECS" in Path(product_file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def region(store: OssStore, given: str) -> Finding:
    """Say for which region requests are signed, and why it."""
    name, said = store.native.region, os.environ.get("OSS_REGION", "")
    host = host_of(store.endpoint)
    facts = {"region": name}
    contradiction = next((note for note in store.native.notes if _CONTRADICTION in note), "")
    if contradiction:
        what, _, remedy = contradiction.partition(": ")
        return Finding("region", "look", f"{what}; --region names it", remedy, facts)
    if given:
        return Finding("region", "ok", f"{name}; --region names it", facts=facts)
    if name not in host:
        return Finding("region", "ok", f"{name}; OSS_REGION names it", facts=facts)
    if said and said.removeprefix("oss-") != name:
        return Finding(
            "region",
            "look",
            f"{name}; the host's name says so, and OSS_REGION={said} is not used",
            "make OSS_REGION and OSS_ENDPOINT agree",
            facts,
        )
    return Finding("region", "ok", f"{name}; the host's name says so", facts=facts)


def proxy(store: OssStore) -> Finding:
    """Name the proxy."""
    place = store.native.proxy
    text = "none, requests go straight" if place is None else f"requests go through {place}"
    return Finding("proxy", "ok", text, facts={"proxy": place})

"""Whose keys sign the requests, and why theirs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from osstorchconnector.cli.amounts import age
from osstorchconnector.cli.doctor.findings import Finding
from osstorchconnector.cli.tables import moment

if TYPE_CHECKING:
    from osstorchconnector.connection import OssStore

# So much of an id tells keys apart; the rest is nobody's business in a log.
_SHOWN = 4


def identity(store: OssStore, cred_path: str) -> Finding:
    """Ask the source for keys.

    Raises:
        CredentialsError: it has none.
    """
    source, reason, key_id, expires_at = store.native.identity()
    why = "--cred-path names it" if cred_path else reason or "it was given"
    who = "nobody: requests go unsigned" if key_id is None else _shortened(key_id)
    text = f"{who}, from {source}; {why}"
    facts = {"source": source, "why": why, "key": None if key_id is None else _shortened(key_id)}
    if expires_at is not None:
        facts["expires"] = moment(expires_at)
        text += f"; good for {age(max(0.0, expires_at - time.time()))}, renewed before"
    return Finding("identity", "ok", text, facts=facts)


def _shortened(key_id: str) -> str:
    return f"{key_id[:_SHOWN]}...{key_id[-_SHOWN:]}" if len(key_id) > 3 * _SHOWN else f"{key_id[:2]}..."

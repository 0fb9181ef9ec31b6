"""How each peer is told of the server: path-style, in clear text, with keys that nobody looks at."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import oss2
    from obstore.store import S3Store

    from measure import Target


def _keys(target: Target) -> tuple[str, str]:
    read = json.loads(Path(target.cred_path).read_text())
    return read["AccessKeyId"], read["AccessKeySecret"]


def obstore_bucket(target: Target) -> S3Store:
    """Return obstore's S3 client: it has none for OSS."""
    from obstore.store import S3Store

    key_id, secret = _keys(target)
    return S3Store(
        "bucket",
        endpoint=target.endpoint,
        region=target.region,
        access_key_id=key_id,
        secret_access_key=secret,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


def oss2_bucket(target: Target) -> oss2.Bucket:
    """Return the SDK's client, signing with V4 and checking CRC-64 as it does unless told otherwise."""
    import oss2

    from raw import THREADS

    oss2.defaults.connection_pool_size = THREADS
    auth = oss2.AuthV4(*_keys(target))
    return oss2.Bucket(auth, target.endpoint, "bucket", region=target.region, is_path_style=True)


def s3_arguments(target: Target) -> dict[str, Any]:
    """Return what classes of s3torchconnector are told; its keys come from the environment."""
    from s3torchconnector import S3ClientConfig

    os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"] = _keys(target)
    return {
        "region": target.region,
        "endpoint": target.endpoint,
        "s3client_config": S3ClientConfig(force_path_style=True),
    }

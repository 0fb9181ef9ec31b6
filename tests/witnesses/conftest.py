"""What the witnesses share: clients that nobody here wrote, pointed at an empty emulator."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import alibabacloud_oss_v2 as sdk
import oss2
import pytest
import side_by_side
from package_process import ORIGINAL, OURS, PackageProcess, way_to_names
from same_programs import BUCKET as BOTH_BUCKET
from witness_data import BUCKET, HOST_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from osstorchconnector.emulator import Emulator

# How the SDKs are set up: signature version and addressing.
SETTINGS = {
    "v4-path": ("v4", "path"),
    "v4-virtual": ("v4", "virtual"),
    "v1-path": ("v1", "path"),
    "v1-virtual": ("v1", "virtual"),
}


@pytest.fixture(autouse=True)
def names_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `HOST_NAME` and every name below it resolve to loopback, in this process."""
    real = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **more: Any) -> Any:
        is_ours = isinstance(host, str) and (host == HOST_NAME or host.endswith(f".{HOST_NAME}"))
        return real("127.0.0.1" if is_ours else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.fixture(scope="module")
def both_packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[PackageProcess]]:
    """Give a process that runs programs with the original wheel, and one that runs them with ours."""
    prefix = way_to_names([BOTH_BUCKET], tmp_path_factory.mktemp("names"))
    both = [
        PackageProcess(side_by_side.__file__, home, prefix, tmp_path_factory.mktemp("package"))
        for home in (ORIGINAL, OURS)
    ]
    yield both
    for process in both:
        process.end()


@pytest.fixture
def make_client(oss_emulator: Emulator) -> Callable[..., sdk.Client]:
    """Give a function that makes clients of the official SDK; keywords replace what is right."""

    def make(setting: str = "v4-path", **changes: Any) -> sdk.Client:
        signature_version, addressing = SETTINGS[setting]
        config = sdk.config.load_default()
        config.signature_version = signature_version
        config.region = changes.pop("region", oss_emulator.region)
        config.endpoint = changes.pop("endpoint", endpoint(oss_emulator, addressing))
        config.credentials_provider = sdk.credentials.StaticCredentialsProvider(
            changes.pop("access_key_id", oss_emulator.access_key_id),
            changes.pop("access_key_secret", oss_emulator.access_key_secret),
            changes.pop("security_token", None),
        )
        if changes.pop("anonymous", False):
            config.credentials_provider = sdk.credentials.AnonymousCredentialsProvider()
        for name, value in changes.items():
            setattr(config, name, value)
        return sdk.Client(config)

    return make


# Each version and each addressing once; `make_client` gives the other pairs where they matter.
CROSSED = ["v4-virtual", "v1-path"]


@pytest.fixture(params=CROSSED)
def client(request: pytest.FixtureRequest, make_client: Callable[..., sdk.Client]) -> sdk.Client:
    """Give the official SDK in two settings, with `BUCKET` made."""
    made = make_client(request.param)
    made.put_bucket(sdk.PutBucketRequest(bucket=BUCKET))
    return made


@pytest.fixture
def v4_client(make_client: Callable[..., sdk.Client]) -> sdk.Client:
    """Give the official SDK in one setting, with `BUCKET` made."""
    made = make_client()
    made.put_bucket(sdk.PutBucketRequest(bucket=BUCKET))
    return made


@pytest.fixture(params=CROSSED)
def old_bucket(request: pytest.FixtureRequest, oss_emulator: Emulator) -> oss2.Bucket:
    """Give the old SDK's bucket object in two settings, the bucket made."""
    version, addressing = SETTINGS[request.param]
    keys = (oss_emulator.access_key_id, oss_emulator.access_key_secret)
    auth = oss2.AuthV4(*keys) if version == "v4" else oss2.Auth(*keys)
    where = endpoint(oss_emulator, addressing)
    bucket = oss2.Bucket(auth, where, BUCKET, region=oss_emulator.region)
    bucket.create_bucket()
    return bucket


def endpoint(oss: Emulator, addressing: str) -> str:
    """Return the URL that makes clients address buckets in this style."""
    port = oss.endpoint.rpartition(":")[2]
    return oss.endpoint if addressing == "path" else f"http://{HOST_NAME}:{port}"

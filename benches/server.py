"""nginx over memory-backed files, answering as OSS would for plain reads, one listing and one multipart upload.

What it serves, path-style at `http://127.0.0.1:PORT/bucket/`: `train/00000000.bin` and its like, `big.bin`, which
is a safetensors file (`tensors.py`), and ListObjectsV2 of `train/` in pages of 1,000 keys, also from the places where
a parallel listing cuts it. Each answer carries nginx's own ETag (the listing names the same) and the true `x-oss-hash-crc64ecma`, so a client that checks has something to check. Signatures are not looked at.
"""

from __future__ import annotations

import bisect
import os
import shutil
import socket
import string
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import tensors

if TYPE_CHECKING:
    from types import TracebackType

KEYS_PER_PAGE = 1000
MEMORY = Path("/dev/shm")  # noqa: S108  (mkdtemp makes what is used of it)
PREFIX = "osstorchconnector-bench-"
# What is written is this byte again and again, in whole parts: so the server can know every checksum beforehand.
SAVED_BYTE = 0xA5
PART_BYTES = 16 * 1024 * 1024
# As raw-client's `fill` sets it: the first object's mtime; each next one is a second younger.
FIRST_MTIME = 1_700_000_000
START_SECONDS = 10.0

CONFIG = r"""
daemon off;
worker_processes 2;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path temp_body;
    proxy_temp_path temp_proxy;
    fastcgi_temp_path temp_fastcgi;
    uwsgi_temp_path temp_uwsgi;
    scgi_temp_path temp_scgi;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    server_tokens off;
    variables_hash_max_size 4096;
    map_hash_max_size 262144;
    map_hash_bucket_size 128;
    map $uri $crc64 {{ include crc.map; }}
    map "$request_method $uri" $saved_crc64 {{ include saved.map; }}
    map $args $page {{
        default page-0;
        "~(^|&)continuation-token=(?<token>page-[0-9]+)(&|$)" $token;
        "~(^|&)start-after=train%2F(?<after>[0-9a-z]+)(&|$)" after-$after;
        "~(^|&)start-after=[^&]" none;
    }}
    map $args $lists {{ default plain; "~encoding-type=url" encoded; }}
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{tls_port} ssl;
        ssl_certificate server.pem;
        ssl_certificate_key server.key;
        root .;
        # The original asks `bucket.HOST/key`; all else `HOST/bucket/key`.
        if ($host ~ ^bucket\.) {{ rewrite ^/(.*)$ /bucket/$1; }}
        add_header x-oss-request-id $request_id always;
        location /bucket/ {{
            add_header x-oss-request-id $request_id always;
            add_header x-oss-hash-crc64ecma $crc64 always;
            add_header x-oss-object-type Normal always;
        }}
        location /bucket/saved/ {{
            # A multipart upload, as far as a client can see. The last part stays, as one file.
            dav_methods PUT;
            create_full_put_path on;
            client_max_body_size 0;
            client_body_buffer_size 1m;
            add_header x-oss-request-id $request_id always;
            add_header x-oss-hash-crc64ecma $saved_crc64 always;
            add_header ETag '"0123456789ABCDEF0123456789ABCDEF"' always;
            default_type application/xml;
            if ($args = uploads) {{ return 200 '<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>saved/object</Key><UploadId>bench</UploadId></InitiateMultipartUploadResult>'; }}
            if ($request_method = DELETE) {{ return 204; }}
            if ($request_method = POST) {{ return 200 '<CompleteMultipartUploadResult><Bucket>bucket</Bucket><Key>saved/object</Key><ETag>"0123456789ABCDEF0123456789ABCDEF-128"</ETag></CompleteMultipartUploadResult>'; }}
        }}
        location = /bucket/ {{ rewrite ^ /lists/$lists-$page.xml last; }}
        location = /bucket {{ rewrite ^ /lists/$lists-$page.xml last; }}
        location /lists/ {{ internal; access_log lists.log; types {{ application/xml xml; }} }}
    }}
}}
"""


def remove_abandoned() -> None:
    """Give the memory back that benches kept which were killed: a directory is named after the process that made it."""
    for directory in MEMORY.glob(f"{PREFIX}*"):
        owner = directory.name.removeprefix(PREFIX).split("-")[0]
        if not (owner.isdigit() and Path("/proc", owner).exists()):
            shutil.rmtree(directory, ignore_errors=True)


@dataclass(frozen=True)
class Served:
    """What a server holds.

    `objects` small objects of `object_bytes` each, and one of `big_bytes`.
    """

    objects: int
    object_bytes: int
    big_bytes: int

    @property
    def small_bytes(self) -> int:
        """Bytes of all small objects together."""
        return self.objects * self.object_bytes


@dataclass
class Server:
    """A context manager: fills a directory in memory, starts nginx, and removes both at the end."""

    served: Served
    raw_client: Path
    directory: Path = field(init=False)
    port: int = field(init=False)
    tls_port: int = field(init=False)
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def address(self) -> str:
        """`host:port` of the server."""
        return f"127.0.0.1:{self.port}"

    @property
    def tls_address(self) -> str:
        """The same over TLS, as the raw client takes it: with the authority to trust."""
        return f"127.0.0.1:{self.tls_port},{self.ca_file}"

    @property
    def ca_file(self) -> Path:
        """The authority that vouches for the server."""
        return self.directory / "ca.pem"

    def __enter__(self) -> Server:
        """Fill and start; the server answers when this returns."""
        remove_abandoned()
        self.directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=MEMORY))
        try:
            self.directory.chmod(0o755)  # nginx's workers give up root
            self._fill()
            self._sum_saved()
            (self.directory / "bucket").chmod(0o777)  # and make what is written
            self._certify()
            self.port, self.tls_port = free_port(), free_port()
            self._start()
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop nginx and give the memory back."""
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def pages_asked(self) -> int:
        """Count the pages of listings that were asked for since the start."""
        log = self.directory / "lists.log"
        return log.read_text().count("\n") if log.exists() else 0

    def _fill(self) -> None:
        sizes = (self.served.objects, self.served.object_bytes, self.served.big_bytes)
        head = self.directory / "head"
        head.write_bytes(tensors.head(self.served.big_bytes))
        subprocess.run([self.raw_client, "fill", self.directory, *map(str, sizes), head], check=True)
        lists = self.directory / "lists"
        lists.mkdir()
        pages = range(0, self.served.objects, KEYS_PER_PAGE)
        for number, first in enumerate(pages):
            page = listing(self.served, first, None if first == pages[-1] else f"page-{number + 1}")
            (lists / f"encoded-page-{number}.xml").write_text(page)
            # As a client gets it that does not ask for encoded keys.
            plain = page.replace("%2F", "/").replace("<EncodingType>url</EncodingType>", "")
            (lists / f"plain-page-{number}.xml").write_text(plain)
        for text, first in starts(self.served.objects).items():
            (lists / f"encoded-after-{text}.xml").write_text(rest_of_page(self.served, first))

    def _sum_saved(self) -> None:
        """Say what an object of one repeated byte, and its parts, sum up to."""
        sizes = {"PUT": min(PART_BYTES, self.served.big_bytes), "POST": self.served.big_bytes}
        with (self.directory / "saved.map").open("w") as saved:
            for method, size_bytes in sizes.items():
                command = [str(self.raw_client), "crc64", str(SAVED_BYTE), str(size_bytes)]
                crc64 = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
                saved.write(f'"{method} /bucket/saved/object" {crc64};\n')

    def _certify(self) -> None:
        """Make an authority, and a certificate for 127.0.0.1 that it vouches for."""
        key = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        authority = ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=bench authority", "-days", "2"]
        leaf = ["-keyout", "server.key", "-out", "server.pem", "-subj", "/CN=bench", "-days", "2"]
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"]
        for rest in (authority, [*leaf, *signed, "-addext", "subjectAltName=IP:127.0.0.1"]):
            subprocess.run([*key, *rest], check=True, cwd=self.directory, stderr=subprocess.DEVNULL)

    def _start(self) -> None:
        config = self.directory / "nginx.conf"
        config.write_text(CONFIG.format(port=self.port, tls_port=self.tls_port))
        arguments = ["nginx", "-p", str(self.directory), "-c", str(config), "-e", "error.log"]
        self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        self.process.kill()
        log = self.directory / "error.log"
        raise SystemExit(f"error: nginx did not start: {log.read_text() if log.exists() else 'no log'}")


def free_port() -> int:
    """Find a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def etag(mtime: int, size_bytes: int) -> str:
    """Build the ETag that nginx makes of a file, quotes included."""
    return f'"{mtime:x}-{size_bytes:x}"'


def starts(objects: int) -> dict[str, int]:
    """Name the keys after which a parallel listing may begin, without `train/`, and the first object behind each.

    A range of keys is cut where keys of two pages differ: their digits up to the hundreds, and one more letter that
    stands anywhere in a key.
    """
    keys = [f"{number:08}.bin" for number in range(objects)]
    begun = {key[:digits] for key in keys for digits in range(6)}
    return {
        begin + letter: bisect.bisect_right(keys, begin + letter)
        for begin in sorted(begun)
        for letter in string.digits + "bin"
    }


def rest_of_page(served: Served, first: int) -> str:
    """Write the page from any key on; it ends where the next whole one begins."""
    number = first // KEYS_PER_PAGE + 1
    return listing(served, first, f"page-{number}" if number * KEYS_PER_PAGE < served.objects else None)


def listing(served: Served, first: int, next_token: str | None) -> str:
    """Write one ListObjectsV2 page: the keys of `train/` from `first` to the next whole thousand."""
    last = min((first // KEYS_PER_PAGE + 1) * KEYS_PER_PAGE, served.objects)
    rows = "".join(_row(served, number) for number in range(first, last))
    more = "" if next_token is None else f"<NextContinuationToken>{next_token}</NextContinuationToken>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        "<ListBucketResult><Name>bucket</Name><Prefix>train%2F</Prefix><MaxKeys>1000</MaxKeys><Delimiter></Delimiter>"
        f"<EncodingType>url</EncodingType><IsTruncated>{str(next_token is not None).lower()}</IsTruncated>{more}"
        f"{rows}<KeyCount>{last - first}</KeyCount></ListBucketResult>\n"
    )


def _row(served: Served, number: int) -> str:
    mtime = FIRST_MTIME + number
    modified = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(mtime))
    return (
        f"<Contents><Key>train%2F{number:08}.bin</Key><LastModified>{modified}</LastModified>"
        f"<ETag>{etag(mtime, served.object_bytes)}</ETag><Type>Normal</Type><Size>{served.object_bytes}</Size>"
        "<StorageClass>Standard</StorageClass></Contents>"
    )

"""One native reader that several threads use: nobody hangs, and every byte is delivered once."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

from osstorchconnector import _native

_BYTES = 3_000_000


def _client(site):
    credentials = ("static", site.oss.access_key_id, site.oss.access_key_secret, None)
    return _native.Client(site.oss.endpoint, site.oss.region, "auto", credentials, {})


def test_another_thread_may_look_at_a_reader_that_waits(site):
    site.fill({"k": bytes(_BYTES)})
    site.oss.rules([{"match": {"op": "GetObject"}, "action": {"stall_after_bytes": 1000}, "times": 1}])
    script = textwrap.dedent(
        """
        import sys, threading
        from osstorchconnector import _native

        endpoint, region, key, secret = sys.argv[1:]
        client = _native.Client(endpoint, region, "auto", ("static", key, secret, None), {"read_stall_seconds": 1})
        reader = client.open_reader("oss://bucket/k")
        reader.size
        thread = threading.Thread(target=reader.read)
        thread.start()
        while thread.is_alive():
            assert reader.etag and not reader.closed
        """
    )
    arguments = [site.oss.endpoint, site.oss.region, site.oss.access_key_id, site.oss.access_key_secret]
    # A process of its own: a deadlock that holds the GIL cannot be ended from inside.
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, timeout=20)


def test_threads_that_read_one_reader_share_its_bytes(site):
    site.fill({"k": bytes(_BYTES)})
    for _ in range(10):
        reader = _client(site).open_reader("oss://bucket/k")
        with ThreadPoolExecutor(4) as pool:
            pieces = list(pool.map(lambda one: one.read(), [reader] * 4))
        assert sum(map(len, pieces)) == _BYTES


def test_closing_a_reader_ends_what_another_thread_waits_for(site):
    site.fill({"k": bytes(_BYTES)})
    site.oss.rules([{"match": {"op": "GetObject"}, "action": {"stall_after_bytes": 1000}}])
    script = textwrap.dedent(
        """
        import sys, threading
        from osstorchconnector import _native
        from osstorchconnector.errors import ClosedError

        endpoint, region, key, secret = sys.argv[1:]
        # Left alone, it would wait for minutes.
        client = _native.Client(endpoint, region, "auto", ("static", key, secret, None), {"read_stall_seconds": 120})
        reader = client.open_reader("oss://bucket/k")
        reader.size
        raised = []

        def read():
            try:
                reader.readinto(bytearray(3_000_000))
            except ClosedError as closed:
                raised.append(closed)

        thread = threading.Thread(target=read)
        thread.start()
        while thread.is_alive() and not client.stats()["in_flight"]:
            pass
        reader.close()
        thread.join()
        assert len(raised) == 1 and reader.closed
        """
    )
    arguments = [site.oss.endpoint, site.oss.region, site.oss.access_key_id, site.oss.access_key_secret]
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, timeout=40)

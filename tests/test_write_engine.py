"""What the write engine promises of a save: requests, memory, waiting, buffers, stages, and what its log says."""

from __future__ import annotations

import gzip
import io
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from osstorchconnector import OssCheckpoint, OssClient
from osstorchconnector.errors import AlreadyExistsError, ClosedError, UploadError

sys.path.insert(0, str(Path(__file__).parent / "faults"))
from ticking import smallest_gap_of

URI = "oss://bucket/ckpt/e0"
MIB = 1 << 20
# Parts of 1 MiB in a window of 4 MiB.
IN_PARTS = {"uploadIoSizeMB": 1, "uploadBufferSizeMB": 4}
STUCK = [{"match": {"op": "UploadPart"}, "action": {"stop_reading": True}}]


@pytest.fixture
def in_parts(site):
    site.fill({"there": b"an object"})
    return OssCheckpoint(**site.configured(checkpointConfig=IN_PARTS))


@pytest.fixture
def quick_timers(site):
    """Give a checkpoint whose ticks are 20 ms: what is said every ten seconds is said five times a second."""
    site.fill({"there": b"an object"})
    return OssCheckpoint(**site.configured(checkpointConfig=IN_PARTS, network={"tickSeconds": 0.02}))


def pattern(size, seed=7):
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8).tobytes()


def stored(checkpoint, uri=URI):
    with checkpoint.reader(uri) as reader:
        return reader.read()


def operations(site):
    return [entry["operation"] for entry in site.oss.requests()]


@pytest.mark.parametrize(
    ("size", "parts"), [(0, 0), (1, 0), (MIB, 0), (MIB + 1, 2), (2 * MIB, 2), (7 * MIB + 3, 8)]
)
def test_what_fits_one_part_is_one_put_and_everything_else_is_parts_and_one_complete(
    size, parts, site, in_parts
):
    with in_parts.writer(URI) as writer:
        writer.write(bytes(size))
    sent = operations(site)
    assert sent.count("PutObject") == (parts == 0)
    assert sent.count("UploadPart") == parts
    assert sent.count("InitiateMultipartUpload") == sent.count("CompleteMultipartUpload") == (parts > 0)
    assert not {"DeleteObject", "CopyObject", "AbortMultipartUpload"} & set(sent)


def test_a_write_of_the_whole_window_returns_though_the_service_takes_nothing(site, in_parts):
    site.oss.rules(STUCK)
    writer = in_parts.writer(URI)
    buffer = bytearray(pattern(4 * MIB))
    assert writer.write(buffer) == 4 * MIB
    assert writer.tell() == 4 * MIB
    buffer[:] = bytes(4 * MIB)
    site.oss.rules([])
    writer.close()
    assert stored(in_parts) == pattern(4 * MIB)


def test_f71_a_full_window_blocks_the_writer_and_no_other_thread(site, in_parts):
    # 16 connections at 0.5 MiB/s each take what the window holds in half a second at least.
    site.oss.rules(
        [
            {
                "match": {"op": "UploadPart"},
                "action": {"rate_bytes_per_second": MIB // 2, "direction": "in"},
            }
        ]
    )
    attempts = []

    def attempt():
        writer = in_parts.writer(f"oss://bucket/slow/{len(attempts)}")
        accepted = 0
        with writer:
            for _ in range(24):
                accepted += writer.write(bytes(MIB // 4))
        attempts.append(writer.timings)

    assert smallest_gap_of(attempt) < 0.1
    # Six MiB, four of them in the window: the program waited for the rest.
    assert all(timings.upload_seconds > 1 for timings in attempts)


MEASURED = """
import resource, sys
from osstorchconnector import OssCheckpoint
from pathlib import Path
def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024
piece, times, uri, config, kind = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
if kind == "strided":
    import numpy as np
    data = np.ones((piece // 8, 2))[:, ::2]
else:
    data = bytearray(piece)
    data[::4096] = bytes([1]) * len(data[::4096])
checkpoint = OssCheckpoint(config_path=config)
with checkpoint.writer("oss://bucket/warm") as writer:
    writer.write(b"the first save starts threads and connections")
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
with checkpoint.writer(uri) as writer:
    for _ in range(times):
        writer.write(data)
print(status("VmHWM") - before)
"""


def peak_of_a_save(site, piece, times, config="", kind="contiguous"):
    """Save `times` pieces in a fresh process; return the memory it took above what it had with one piece made."""
    run = subprocess.run(
        [sys.executable, "-c", MEASURED, str(piece), str(times), URI, config, kind],
        env={**os.environ, **site.oss.environ()}, capture_output=True, text=True, timeout=50, check=True,
    )  # fmt: skip
    return int(run.stdout)


def test_f71_a_producer_faster_than_the_network_takes_a_window_of_memory(site):
    site.fill({"there": b"an object"})
    site.oss.shape(rate_bytes_per_second=10 * MIB)
    peak = peak_of_a_save(site, 64 * MIB, 8)
    # The window is 256 MiB: the producer fills it, and what threads and connections take is small.
    assert 150 * MIB < peak < 280 * MIB
    assert operations(site).count("UploadPart") == 32


def test_a_write_larger_than_the_window_goes_from_the_callers_memory(site):
    site.fill({"there": b"an object"})
    assert peak_of_a_save(site, 300 * MIB, 1) < 40 * MIB
    assert operations(site).count("UploadPart") == 19


def test_a_strided_write_takes_little_memory_beside_the_window(site):
    site.fill({"there": b"an object"})
    config = site.oss.write_config(site.directory, {"checkpointConfig": IN_PARTS})
    assert peak_of_a_save(site, 64 * MIB, 1, config, "strided") < 40 * MIB
    assert operations(site).count("UploadPart") == 64


BUFFERS = {
    "bytes": pattern(5000),
    "bytearray": bytearray(pattern(5000)),
    "memoryview": memoryview(pattern(5000))[7:-9],
    "strided": memoryview(pattern(5000))[::3],
    "backwards": memoryview(pattern(5000))[::-1],
    "float32": np.arange(1000, dtype="<f4"),
    "big endian": np.arange(1000, dtype=">i8"),
    "complex": np.arange(1000) * 1j,
    "records": np.zeros(100, dtype=[("a", "<i4"), ("b", "<f8")]),
    "columns": np.arange(5000, dtype="u2").reshape(50, 100)[:, ::2],
    "many columns": np.arange(1_600_000, dtype="f8").reshape(2, 800_000)[:, ::2],
    "many rows": np.arange(1_600_000, dtype="f8").reshape(800_000, 2)[:, ::2],
    "transposed": np.arange(6000, dtype="u1").reshape(60, 100).T,
    "a number": np.float64(2.5),
    "empty": np.zeros((3, 0)),
}


@pytest.mark.parametrize("name", BUFFERS)
def test_every_buffer_is_saved_by_its_bytes(name, in_parts):
    data = BUFFERS[name]
    expected = memoryview(data).tobytes()  # type: ignore[arg-type]
    with in_parts.writer(URI) as writer:
        assert writer.write(data) == len(expected)  # type: ignore[arg-type]
    assert stored(in_parts) == expected


@pytest.mark.parametrize(
    "dtype", ["bfloat16", "float16", "float32", "int64", "bool", "complex64", "float8_e4m3fn"]
)
def test_torch_storages_of_every_dtype_are_saved_by_their_bytes(dtype, in_parts):
    if not hasattr(torch, dtype):
        pytest.skip(f"torch {torch.__version__} has no {dtype}")
    values = torch.arange(300_001).remainder(2).to(getattr(torch, dtype))
    expected = values.view(torch.uint8).numpy().tobytes()
    with in_parts.writer(URI) as writer:
        assert writer.write(values.untyped_storage()) == len(expected)
        assert writer.write(torch.UntypedStorage(0)) == 0
    assert stored(in_parts) == expected


def test_what_has_no_bytes_is_a_type_error_and_what_is_elsewhere_a_value_error(in_parts):
    with in_parts.writer(URI) as writer:
        for wrong in ("text", 7, None, [1], torch.zeros(3)):
            with pytest.raises(TypeError):
                writer.write(wrong)
        with pytest.raises(ValueError, match="meta"):
            writer.write(torch.zeros(3, device="meta").untyped_storage())
        writer.write(b"still open")
    assert stored(in_parts) == b"still open"


def test_close_publishes_once_and_then_nothing_is_taken(site, in_parts):
    writer = in_parts.writer(URI)
    writer.write(b"data")
    writer.close()
    writer.close()
    for refused in (lambda: writer.write(b"more"), writer.flush, writer.tell, writer.__enter__):
        with pytest.raises(ClosedError, match="open it again"):
            refused()
    assert operations(site).count("PutObject") == 1
    assert stored(in_parts) == b"data"
    assert writer.size == 4


@pytest.mark.parametrize("size", [10, 3 * MIB])
def test_options_are_those_of_the_object(size, site, in_parts):
    options = {"content_type": "image/png", "storage_class": "IA", "metadata": {"Step": "42", "run": "a b"}}
    with in_parts.writer(URI, size_hint_bytes=size, **options) as writer:
        writer.write(bytes(size))
    info = OssClient(**site.arguments)._connection.native().head_object(URI)
    assert (info.size, info.content_type, info.storage_class) == (size, "image/png", "IA")
    assert info.metadata == {"step": "42", "run": "a b"}
    begun = next(entry for entry in site.oss.requests() if entry["method"] in ("PUT", "POST"))
    assert begun["headers"]["x-oss-meta-step"] == "42"


def test_crc64_is_that_of_the_bytes_so_far(site, in_parts):
    data = pattern(3 * MIB)
    site.oss.put_object("bucket", "half", data[:MIB])
    native = OssClient(**site.arguments)._connection.native()
    with in_parts.writer(URI) as writer:
        assert writer.crc64 == 0
        writer.write(data[:MIB])
        assert writer.crc64 == native.head_object("oss://bucket/half").crc64
        writer.write(data[MIB:])
    assert writer.crc64 == native.head_object(URI).crc64


WINNERS = """
import sys
from osstorchconnector import OssCheckpoint
from osstorchconnector.errors import AlreadyExistsError
config, uri, number, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
writers = []
for thread in range(8):
    writer = OssCheckpoint(config_path=config).writer(uri, if_absent=True)
    writer.write(bytes([number * 8 + thread]) * size)
    writers.append(writer)
print("ready", flush=True)
sys.stdin.readline()
won = []
import threading
def close(thread, writer):
    try:
        writer.close()
        won.append(number * 8 + thread)
    except AlreadyExistsError:
        pass
threads = [threading.Thread(target=close, args=pair) for pair in enumerate(writers)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(*won, flush=True)
"""


@pytest.mark.parametrize("size", [1000, 2 * MIB + 1], ids=["one put", "in parts"])
def test_f68_of_64_careful_writers_in_8_processes_exactly_one_wins(size, site, in_parts):
    config = site.oss.write_config(site.directory, {"checkpointConfig": IN_PARTS})
    environment = {**os.environ, **site.oss.environ()}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WINNERS, config, URI, str(number), str(size)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(8)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=50)[0] for process in running]
    winners = [int(word) for text in said for word in text.split()]
    assert len(winners) == 1
    assert stored(in_parts) == bytes(winners) * size
    assert OssClient(**site.arguments).abandoned_uploads("oss://bucket/") == []


@pytest.mark.parametrize("size", [1000, 2 * MIB + 1], ids=["one put", "in parts"])
def test_f68_of_64_careful_threads_exactly_one_wins_and_the_others_say_why(size, site, in_parts):
    barrier = threading.Barrier(64)
    outcomes: list[int | Exception] = []

    def save(number):
        try:
            with in_parts.writer(URI, if_absent=True) as writer:
                writer.write(bytes([number]) * size)
                barrier.wait()
            outcomes.append(number)
        except AlreadyExistsError as refused:
            outcomes.append(refused)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(64)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(outcomes) == 64
    [winner] = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert stored(in_parts) == bytes([winner]) * size
    assert OssClient(**site.arguments).abandoned_uploads("oss://bucket/") == []


STATE = {"weights": torch.arange(400_000).float(), "half": torch.ones(1000).bfloat16(), "step": 7}


def with_torch(writer):
    torch.save(STATE, writer)


def with_old_torch(writer):
    torch.save(STATE, writer, _use_new_zipfile_serialization=False)


def with_pickle(writer):
    pickle.dump({"a": list(range(100_000))}, writer)


def with_numpy(writer):
    np.save(writer, np.arange(300_000))


def with_zipfile(writer):
    with zipfile.ZipFile(writer, "w") as archive:
        archive.writestr("name", pattern(2 * MIB))


def with_gzip(writer):
    with gzip.GzipFile(fileobj=writer, mode="wb", compresslevel=0) as packed:
        packed.write(pattern(2 * MIB))


def with_text(writer):
    with io.TextIOWrapper(writer, encoding="utf-8") as text:
        text.write("zwölf\n" * 400_000)


def loaded_by_torch(stream):
    loaded = torch.load(stream, weights_only=True)
    return all(
        torch.equal(loaded[name], STATE[name]) if name != "step" else loaded[name] == 7 for name in STATE
    )


def unzipped(stream):
    with zipfile.ZipFile(stream) as archive:
        return archive.read("name") == pattern(2 * MIB)


LIBRARIES = {
    "torch": (with_torch, loaded_by_torch),
    "old torch": (with_old_torch, loaded_by_torch),
    "pickle": (with_pickle, lambda stream: pickle.load(stream) == {"a": list(range(100_000))}),
    "numpy": (with_numpy, lambda stream: np.array_equal(np.load(stream), np.arange(300_000))),
    "zipfile": (with_zipfile, unzipped),
    "gzip": (with_gzip, lambda stream: gzip.GzipFile(fileobj=stream).read() == pattern(2 * MIB)),
    "text": (with_text, lambda stream: stream.read() == "zwölf\n".encode() * 400_000),
}


@pytest.mark.parametrize("name", LIBRARIES)
def test_libraries_write_through_it(name, site, in_parts):
    save, is_whole = LIBRARIES[name]
    with in_parts.writer(URI) as writer:
        save(writer)
    assert operations(site).count("UploadPart") >= (0 if name == "pickle" else 2)
    with in_parts.reader(URI) as reader:
        assert is_whole(reader)


def test_the_stages_add_up_to_the_time_of_the_save(site, in_parts):
    site.oss.rules(
        [
            {"match": {"op": "CompleteMultipartUpload"}, "action": {"delay_ms": 300}},
            {"match": {"op": "UploadPart", "part": 1}, "action": {"delay_ms": 400}},
        ]
    )
    with in_parts.writer(URI) as writer:
        writer.write(bytes(2 * MIB))
        assert writer.timings.settle_seconds == 0
    serialise, upload, settle = writer.timings
    assert serialise < 0.3
    assert 0.35 < upload < 2
    assert 0.25 < settle < 2
    assert writer.timings == (serialise, upload, settle)


def test_a_long_save_logs_its_progress_while_it_lasts_and_its_stages_at_the_end(site, quick_timers, caplog):
    caplog.set_level(logging.INFO, "osstorchconnector")
    site.oss.rules([{"match": {"op": "UploadPart"}, "action": {"delay_ms": 700}}])
    during = []
    with quick_timers.writer(URI) as writer:
        for _ in range(8):
            writer.write(bytes(MIB))
        during = [record.getMessage() for record in caplog.records if record.name.endswith(".write")]
    assert during, "a line while the program was still writing"
    assert all(URI in text and "GB/s" in text and text.endswith("parts left") for text in during)
    lines = [record.getMessage() for record in caplog.records if record.name.endswith(".write")]
    assert lines[-1].startswith(f"saved {URI}: {8 * MIB} bytes in ")
    assert "serialise" in lines[-1]
    assert "settle" in lines[-1]


def test_a_short_save_logs_nothing(in_parts, caplog):
    caplog.set_level(logging.INFO, "osstorchconnector")
    with in_parts.writer(URI) as writer:
        writer.write(bytes(3 * MIB))
    assert [record for record in caplog.records if record.name.endswith(".write")] == []


def test_f79_close_while_another_thread_writes_publishes_what_was_taken_or_refuses_the_rest(site, in_parts):
    site.oss.rules([{"match": {"op": "UploadPart"}, "action": {"delay_ms": 20}}])
    writer = in_parts.writer(URI)
    pieces, refused = [], []
    began = threading.Event()

    def write():
        for number in range(200):
            try:
                writer.write(bytes([number]) * 100_000)
            except ClosedError as failure:
                refused.append(failure)
                return
            pieces.append(bytes([number]) * 100_000)
            began.set()

    thread = threading.Thread(target=write)
    thread.start()
    began.wait()
    writer.close()
    thread.join()
    assert stored(in_parts) == b"".join(pieces)
    assert len(refused) == 1 or len(pieces) == 200


def test_f79_abort_while_another_thread_waits_in_a_write_ends_both(site, in_parts):
    site.oss.rules([{"match": {"op": "UploadPart"}, "action": {"delay_ms": 100}}])
    writer = in_parts.writer(URI)
    ended = []
    began = threading.Event()

    def write():
        try:
            for _ in range(1000):
                writer.write(bytes(MIB))
                began.set()
        except ClosedError as failure:
            ended.append(failure)

    thread = threading.Thread(target=write)
    thread.start()
    began.wait()
    writer.abort()
    thread.join()
    assert len(ended) == 1
    assert OssClient(**site.arguments).abandoned_uploads("oss://bucket/") == []


def test_a_signal_handler_that_calls_the_writer_it_interrupts_is_refused(site, in_parts):
    site.oss.rules(STUCK)
    writer = in_parts.writer(URI)
    before = signal.signal(signal.SIGALRM, lambda *_: writer.abort())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(RuntimeError, match="reentrant"):
            writer.write(bytes(6 * MIB))
    finally:
        signal.signal(signal.SIGALRM, before)
    writer.abort()
    assert OssClient(**site.arguments).abandoned_uploads("oss://bucket/") == []


def test_a_save_whose_parts_stop_moving_ends_at_the_deadline_and_names_a_part(site):
    site.fill({"ckpt/e0": b"old"})
    network = {
        "deadlineSeconds": 1.5,
        "writeStallSeconds": 0.3,
        "tickSeconds": 0.05,
        "retryBaseSeconds": 0.01,
    }
    saving = OssCheckpoint(**site.configured(checkpointConfig=IN_PARTS, network=network))
    site.oss.rules(STUCK)

    def save():
        with saving.writer(URI) as writer:
            for _ in range(8):
                writer.write(bytes(MIB))

    with pytest.raises(UploadError, match=r"part \d") as failed:
        save()
    assert failed.value.state == "not_committed"
    assert failed.value.elapsed_seconds < 10
    assert stored(saving) == b"old"

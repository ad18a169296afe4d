"""The supervisor, from outside: how it starts, keeps, scales and ends real processes."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import re
import shutil
import signal
import socket
import stat
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from farm.client import FarmClient, StoreClient
from farm.clock import SystemClock
from farm.datadir import LOCK_NAME
from farm.errors import InvalidArgument, Unavailable
from farm.observe import ProcessMetrics
from farm.sockets import Addresses, Sockets, socket_path
from farm.wire import FarmState, Kind, pack
from gateway.pb.hark.v1.hark_pb2 import PublishPostRequest
from gateway.pb.hark.v1.hark_pb2_grpc import PublisherServiceStub
from tests.farm_process import FarmProcess, StartFarm, is_alive, wait_until, wait_until_async
from tests.faults.disks import Ballast, mounted

pytestmark = pytest.mark.process

ONE_OF_EACH = {"store": 1, "reader": 1, "worker": 2, "gateway": 1, "web": 1}
QUICK = ("--workers", "2")
HARDLY_ROOM_BYTES = 48 * 2**10  # of which the index of the store's log takes 32
PUBLISHED = 'hark_posts_published_total{outcome="ok"}'


class Asking:
    """The farm's own sockets, as its processes use them."""

    def __init__(self, hark: FarmProcess) -> None:
        self._sockets = Sockets()
        self._addresses = Addresses(socket_path(hark.data_dir))
        self.farm = FarmClient(self._sockets, self._addresses)
        self.store = StoreClient(
            self._sockets,
            self._addresses,
            name=f"test-{os.getpid()}-{time.monotonic_ns()}",
            readers=1,
            clock=SystemClock(),
            metrics=ProcessMetrics(),
        )

    async def serves(self, role: str, number: int) -> bool:
        asker = self._sockets.asker(self._addresses.control(role, number))
        try:
            kind, body = await asker.ask(pack(Kind.PING), 0.2)
            return kind is Kind.PONG and bool(body[0]["serving"])
        except Unavailable:
            return False
        finally:
            asker.close()

    def close(self) -> None:
        self.farm.close()
        self.store.close()
        self._sockets.close()


@contextlib.asynccontextmanager
async def asking(hark: FarmProcess) -> AsyncIterator[Asking]:
    made = Asking(hark)
    try:
        yield made
    finally:
        made.close()


def roles(hark: FarmProcess) -> dict[str, int]:
    return {role: len(hark.pids(role)) for role in ONE_OF_EACH}


def in_memory(hark: FarmProcess) -> Path:
    """The directory in memory of a running farm."""
    for path in Path("/dev/shm").glob("hark-memory-*"):
        with contextlib.suppress(FileNotFoundError):
            if (path / LOCK_NAME).read_text().strip() == str(hark.pid):
                return path
    raise AssertionError("it has none")


def assert_nothing_left(hark: FarmProcess) -> None:
    left = {path.name for path in hark.data_dir.iterdir()}
    assert not left & {LOCK_NAME, "sockets"}


def refused(hark: FarmProcess, *, status: int = 1) -> str:
    """The one line a start ends with that cannot be."""
    assert hark.wait() == status, hark.log_tail()
    assert hark.ready_line == ""
    (line,) = [line for line in hark.log().splitlines() if line.startswith("hark: ")]
    return line


@contextlib.contextmanager
def listener(*, reuse_port: bool = False, host: str = "127.0.0.1") -> Iterator[int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as taken:
        if reuse_port:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind((host, 0))
        taken.listen()
        yield taken.getsockname()[1]


# Starting


def test_the_ready_line_comes_once_and_everything_serves(farm: StartFarm) -> None:
    started_s = time.monotonic()
    hark = farm(*QUICK)
    print(f"ready after {time.monotonic() - started_s:.2f} s")
    assert hark.ready_line == (
        f"hark ready grpc=127.0.0.1:{hark.grpc_port} http=127.0.0.1:{hark.http_port} "
        f"workers=2 pid={hark.pid}\n"
    )
    assert roles(hark) == ONE_OF_EACH
    assert sorted(hark.children().values()) == [
        "hark: gateway 1", "hark: reader 1", "hark: store", "hark: web 1", "hark: worker 1",
        "hark: worker 2",
    ]  # fmt: skip
    for port in (hark.grpc_port, hark.http_port):
        socket.create_connection(("127.0.0.1", port), 1).close()
    for path in (hark.data_dir, socket_path(hark.data_dir), hark.metrics_dir):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    metrics = hark.metrics_dir
    assert hark.stop() == 0
    assert hark.ready_line.count("\n") == 1
    assert not metrics.exists()
    assert_nothing_left(hark)


def test_many_processes_share_a_port(farm: StartFarm) -> None:
    hark = farm("--workers", "1", "--gateways", "2", "--web-processes", "2", "--readers", "2")
    assert roles(hark) == {"store": 1, "reader": 2, "worker": 1, "gateway": 2, "web": 2}


async def test_the_sample_people_follow_as_listed(farm: StartFarm) -> None:
    hark = farm(*QUICK)
    listed = {
        "user1": ["user2", "user3", "user4", "user5", "user6", "user7"],
        "user2": ["user1", "user3", "user5"],
        "user3": ["user1", "user2", "user4"],
        "user4": ["user2", "user5", "user7"],
        "user5": [],
    }
    async with asking(hark) as ask:
        for author, followers in listed.items():
            assert sorted((await ask.store.followers(author, 100, "")).ids) == followers
        assert await ask.store.unfollow("user2", "user1")
    hark.restart()
    async with asking(hark) as ask:
        assert len((await ask.store.followers("user1", 100, "")).ids) == 5, "they came back"


async def test_no_sample_people(farm: StartFarm) -> None:
    async with asking(farm(*QUICK, "--no-sample-data")) as ask:
        assert not (await ask.store.stats()).has_users


async def test_an_edge_list_is_imported_once(farm: StartFarm, tmp_path: Path) -> None:
    edges = tmp_path / "follows.csv.gz"
    lines = [f"f{number},author" for number in range(10_000)]
    edges.write_bytes(gzip.compress("\n".join(["# who,whom", *lines, "broken", "a,a"]).encode()))
    hark = farm(*QUICK, "--import-follows", str(edges))
    async with asking(hark) as ask:
        assert (await ask.store.followers("author", 1, "")).total == 10_000
        assert await ask.store.user("user1") is None
        assert await ask.store.unfollow("f1", "author")
    assert "line 10002: 'broken': must be two ids, not 1" in hark.log()
    assert "line 10003: follower 'a': nobody can follow themselves" in hark.log()
    assert "added=10000 already_there=0 rejected=2" in hark.log()
    hark.restart()
    async with asking(hark) as ask:
        assert (await ask.store.followers("author", 1, "")).total == 9_999
    assert "edge list skipped: it was imported before" in hark.log()


async def test_an_edge_list_beyond_what_one_may_follow(farm: StartFarm, tmp_path: Path) -> None:
    edges = tmp_path / "follows"
    edges.write_text("# who whom\na x\nb x\na y\n\na z\na x\n")
    hark = farm(*QUICK, "--import-follows", str(edges), "--following-max", "2")
    async with asking(hark) as ask:
        assert (await ask.store.followers("x", 10, "")).ids == ["a", "b"]
        assert (await ask.store.followers("z", 10, "")).ids == []
    assert "line 6: 'a' follows 2 authors already" in hark.log()
    assert "added=3 already_there=1 rejected=1" in hark.log()


async def test_import_and_sample_people_together(farm: StartFarm, tmp_path: Path) -> None:
    edges = tmp_path / "follows"
    edges.write_text("a b\n")
    hark = farm(*QUICK, "--import-follows", str(edges), "--sample-data")
    async with asking(hark) as ask:
        assert (await ask.store.followers("b", 10, "")).ids == ["a"]
        assert (await ask.store.followers("user2", 10, "")).total == 3


def test_a_missing_edge_list_ends_the_start(farm: StartFarm, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    hark = farm("--import-follows", str(missing), wait=False)
    assert refused(hark) == f"hark: --import-follows {missing}: there is no such file"
    assert not hark.data_dir.exists()


def test_a_damaged_edge_list_ends_the_start(farm: StartFarm, tmp_path: Path) -> None:
    edges = tmp_path / "follows.gz"
    edges.write_bytes(gzip.compress(os.urandom(1_000).hex().encode())[:-200])
    hark = farm(*QUICK, "--import-follows", str(edges), wait=False)
    line = refused(hark)
    assert line.startswith(f"hark: --import-follows {edges}: ")
    assert "damaged" in line


# What surrounds it


@pytest.mark.parametrize("flag", ["--grpc-port", "--http-port"])
@pytest.mark.parametrize("reuse_port", [False, True])
def test_a_port_in_use(farm: StartFarm, flag: str, reuse_port: bool) -> None:
    with listener(reuse_port=reuse_port) as port:
        hark = farm(flag, str(port), wait=False)
        assert refused(hark) == (
            f"hark: port {port} is in use on 127.0.0.1: choose another with {flag}"
        )
        assert_nothing_left(hark)


def test_a_host_of_another_machine(farm: StartFarm) -> None:
    assert refused(farm("--host", "192.0.2.1", "--grpc-port", "50051", wait=False)) == (
        "hark: --host 192.0.2.1: is not an address of this machine"
    )
    assert "hark: --host nowhere.invalid: " in refused(
        farm("--host", "nowhere.invalid", wait=False)
    )


def test_a_name_and_an_address_of_version_6(farm: StartFarm) -> None:
    assert farm(*QUICK, "--host", "localhost").grpc_address.startswith("127.0.0.1:")
    hark = farm(*QUICK, "--host", "::1")
    assert hark.ready_line.startswith(f"hark ready grpc=[::1]:{hark.grpc_port} http=[::1]:")
    for port in (hark.grpc_port, hark.http_port):
        socket.create_connection(("::1", port), 1).close()
    assert "no authentication" not in hark.log()


def test_a_host_that_others_reach_is_warned_about(farm: StartFarm) -> None:
    hark = farm(*QUICK, "--host", "0.0.0.0")
    assert "there is no authentication yet" in hark.log()


def test_a_second_hark_on_the_directory(farm: StartFarm, tmp_path: Path) -> None:
    """Fault row 46: ZeroMQ would take the sockets' paths from the first without a word."""
    hark = farm(*QUICK)
    (tmp_path / "other name").symlink_to(hark.data_dir)
    for name in (hark.data_dir, tmp_path / "other name"):
        line = refused(farm(*QUICK, data_dir=name, wait=False))
        assert f"another Hark (process {hark.pid}) runs on it" in line
        assert "--data-dir" in line
    assert roles(hark) == ONE_OF_EACH
    assert hark.restart().pid


def test_a_file_where_the_directory_should_be(farm: StartFarm, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "data"):
        line = refused(farm(data_dir=path, wait=False))
        assert f"data directory {path}: " in line
        assert "--data-dir" in line
        assert "writable" not in line


def test_a_full_disk_ends_the_start(farm: StartFarm, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=64k") as disk:
        Ballast(disk).leave(0)
        hark = farm(*QUICK, data_dir=disk / "data", wait=False)
        assert refused(hark) == (
            f"hark: data directory {hark.data_dir}: No space left on device: choose another with "
            "--data-dir"
        )
    assert "Traceback" not in hark.log()


def test_a_disk_without_room_for_the_sample_people_ends_the_start(
    farm: StartFarm, tmp_path: Path
) -> None:
    """It is enough for the store to begin, and for no more."""
    with mounted(tmp_path / "disk", "size=8m") as disk:
        flags = ("--workers", "1", "--disk-reserve-mb", "0")
        hark = farm(*flags, "--no-sample-data", data_dir=disk / "data")
        assert hark.stop() == 0
        Ballast(disk).leave(HARDLY_ROOM_BYTES)
        hark = farm(*flags, data_dir=disk / "data", wait=False)
        assert refused(hark) == (
            "hark: sample people: the disk is full; mend that, or start with --no-sample-data"
        )
    assert "Traceback" not in hark.log()


def test_a_directory_of_others_is_not_made_private(farm: StartFarm, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    (shared / "thesis.tex").write_text("")
    assert "holds files of others" in refused(farm(data_dir=shared, wait=False))
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755
    (shared / "thesis.tex").unlink()
    shared.chmod(0o1777)
    assert "everybody may put files there" in refused(farm(data_dir=shared, wait=False))
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777


def test_a_path_too_long_for_sockets(farm: StartFarm, tmp_path: Path) -> None:
    hark = farm(*QUICK, data_dir=tmp_path / ("d" * 100))
    assert not (hark.data_dir / "sockets").exists()
    assert stat.S_IMODE(socket_path(hark.data_dir).stat().st_mode) == 0o700
    assert hark.stop() == 0


def test_a_wrong_flag_is_one_line_and_status_2(farm: StartFarm) -> None:
    line = refused(farm("--workers", "65", wait=False), status=2)
    assert line == "hark: --workers 65: must be from 1 to 64"
    line = refused(farm("--host", "a\nb", "--workers", "0\n1", wait=False), status=2)
    assert "\n" not in line


def test_memory_keeps_nothing(farm: StartFarm) -> None:
    hark = farm(*QUICK, data_dir="memory:")
    assert "keeps nothing" in hark.log()
    directory = in_memory(hark)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert hark.stop() == 0
    assert not directory.exists()


def test_memory_of_a_killed_hark_is_given_back(farm: StartFarm) -> None:
    hark = farm(*QUICK, data_dir="memory:")
    abandoned = in_memory(hark)
    hark.kill_tree()
    assert abandoned.exists()
    hark.start()
    assert not abandoned.exists()
    assert hark.stop() == 0


# Death and hanging


def test_the_death_of_the_supervisor_is_everybodys(farm: StartFarm) -> None:
    """Fault rows 46 and 99."""
    hark = farm(*QUICK)
    children = list(hark.children())
    assert len(children) == 6
    ports = (hark.grpc_port, hark.http_port)
    hark.signal(signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, children)), 1.0)
    hark.wait()
    assert list(socket_path(hark.data_dir).iterdir()), "nobody was there to remove them"
    # Neither lock nor port nor socket of the former life is in the way.
    hark.flags += ["--grpc-port", str(ports[0]), "--http-port", str(ports[1])]
    hark.start()
    assert (hark.grpc_port, hark.http_port) == ports
    assert hark.stop() == 0


def test_connections_that_linger_do_not_hold_the_port(farm: StartFarm) -> None:
    hark = farm(*QUICK)
    with socket.create_connection(("127.0.0.1", hark.http_port)) as connection:
        connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        while connection.recv(4096):
            pass  # the server closes first, so it is the one to linger
    hark.flags += ["--http-port", str(hark.http_port)]
    hark.restart()


async def test_counts_outlive_their_process(farm: StartFarm) -> None:
    hark = farm(*QUICK, "--sample-data")

    async def publish(count: int) -> None:
        async with grpc.aio.insecure_channel(hark.grpc_address) as channel:
            stub = PublisherServiceStub(channel)
            for _ in range(count):
                await stub.PublishPost(PublishPostRequest(author_id="user1", content="Hello"))

    def published() -> str:
        url = f"http://{hark.http_address}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            text: str = answer.read().decode()
        (line,) = [x for x in text.splitlines() if x.startswith(PUBLISHED)]
        return line.removeprefix(PUBLISHED).strip()

    async with asking(hark) as ask:
        for times in (1, 2):
            await publish(3)
            killed = hark.pids("gateway")[0]
            os.kill(killed, signal.SIGKILL)
            await wait_until_async(lambda: not is_alive(killed))  # noqa: B023 (waited for here)
            metrics = hark.metrics_dir
            moved = f"counter_{killed}.db"
            await wait_until_async(lambda: not (metrics / moved).exists())  # noqa: B023 (as above)
            await wait_until_async(lambda: ask.serves("gateway", 1), 10.0)
            assert await asyncio.to_thread(published) == f"{3 * times}.0"


# Dying before it was ever ready


def dying(directory: Path, module: str, status: int) -> dict[str, str]:
    """An environment in which one of the programs ends at once."""
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(
        f"import os, sys\nif {module!r} in sys.orig_argv: os._exit({status})\n"
    )
    return {"PYTHONPATH": str(directory)}


def test_it_gives_up_when_processes_die_at_once(farm: StartFarm, tmp_path: Path) -> None:
    """Fault row 100."""
    environment = dying(tmp_path / "site", "gateway.grpc_server", 7)
    line = refused(farm(*QUICK, environment=environment, wait=False))
    assert "gave up: 5 processes ended before Hark was ready" in line
    assert "gateway 1" in line
    assert "ended with status 7" in line


@pytest.mark.parametrize("status", [1, 2])
def test_the_stores_refusal_is_the_farms(farm: StartFarm, tmp_path: Path, status: int) -> None:
    environment = dying(tmp_path / "site", "farm.store.writer", status)
    hark = farm(*QUICK, environment=environment, wait=False)
    assert hark.wait() == status
    assert hark.ready_line == ""
    assert hark.log().count("ended with status") == 1


# Scaling


async def test_workers_come_and_go_by_request(farm: StartFarm) -> None:
    hark = farm("--workers", "1")
    async with asking(hark) as ask:
        state = await ask.farm.set_workers(3)
        assert state.workers == 3
        assert Counter(process.role for process in state.processes)["worker"] == 3
        await wait_until_async(lambda: ask.serves("worker", 2), 10.0)
        await wait_until_async(lambda: ask.serves("worker", 3), 10.0)
        first = hark.pids("worker")[0]
        assert (await ask.farm.set_workers(1)).workers == 1
        await wait_until_async(lambda: len(hark.children()) == 5)
        assert hark.pids("worker") == [first]
        for wrong in (0, 65):
            with pytest.raises(InvalidArgument, match=f"workers {wrong}: must be from 1 to 64"):
                await ask.farm.set_workers(wrong)
        state = await ask.farm.state()
        expected = ONE_OF_EACH | {"worker": 1, "supervisor": 1}
        assert Counter(process.role for process in state.processes) == expected
        assert not any(state.restarts.values()), "to be asked to end is no death"
    assert "worker 2 (process" not in hark.log()


async def test_workers_come_and_go_by_signal(farm: StartFarm) -> None:
    hark = farm("--workers", "1")
    hark.signal(signal.SIGTTOU)
    hark.signal(signal.SIGTTIN)
    wait_until(lambda: len(hark.pids("worker")) == 2)
    hark.signal(signal.SIGTTOU)
    wait_until(lambda: len(hark.pids("worker")) == 1)
    hark.signal(signal.SIGTTOU)  # one stays
    hark.signal(signal.SIGHUP)  # and this changes nothing
    wait_until(lambda: "SIGHUP is of no effect" in hark.log())
    async with asking(hark) as ask:
        assert (await ask.farm.state()).workers == 1
    assert len(hark.pids("worker")) == 1


async def test_the_state_of_the_farm(farm: StartFarm) -> None:
    before_us = SystemClock().wall_us()
    hark = farm(*QUICK)
    async with asking(hark) as ask:
        state: FarmState = await ask.farm.state()
    assert state.workers == 2
    assert {process.pid for process in state.processes} == {hark.pid, *hark.children()}
    for process in state.processes:
        assert before_us < process.started_at_us < SystemClock().wall_us()
        assert process.restarts == 0


# Ending


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_front_to_back(farm: StartFarm, number: int) -> None:
    """Fault row 104."""
    hark = farm(*QUICK, "--log-level", "debug")
    children = list(hark.children())
    started_s = time.monotonic()
    hark.signal(number)
    assert hark.wait() == 0
    print(f"ended after {time.monotonic() - started_s:.2f} s")
    assert not any(map(is_alive, children))
    assert_nothing_left(hark)
    ends = re.findall(r"supervisor: ended role=(\w+) number=\d status=(-?\d+)", hark.log())
    order = [role for role, _ in ends]
    assert set(order[:2]) == {"gateway", "web"}
    assert order[2:] == ["worker", "worker", "reader", "store"]
    assert {status for _, status in ends} == {"0"}, "each ended by itself"


def test_who_does_not_end_is_killed_in_time(farm: StartFarm) -> None:
    hark = farm(*QUICK)
    children = list(hark.children())
    for pid in children:
        os.kill(pid, signal.SIGSTOP)
    assert hark.stop(10.0) == 0
    assert not any(map(is_alive, children))
    assert_nothing_left(hark)


def test_a_second_signal_ends_at_once(farm: StartFarm) -> None:
    """Fault row 104."""
    hark = farm(*QUICK)
    children = list(hark.children())
    os.kill(hark.pids("gateway")[0], signal.SIGSTOP)
    hark.signal(signal.SIGTERM)
    wait_until(lambda: "ending: front to back" in hark.log())
    hark.signal(signal.SIGTERM)
    assert hark.wait(1.5) == 1
    wait_until(lambda: not any(map(is_alive, children)), 1.0)
    assert_nothing_left(hark)


def test_the_database_outlives_everything(farm: StartFarm, tmp_path: Path) -> None:
    """What is left after the end can be moved, and Hark goes on with it there."""
    hark = farm(*QUICK)
    assert hark.stop() == 0
    moved = shutil.move(hark.data_dir, tmp_path / "moved")
    assert farm(*QUICK, data_dir=moved).stop() == 0

"""A copy that is started while the original goes on: neither has the other's numbers."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import pytest

from farm import cli
from farm.errors import InvalidArgument
from farm.store.sqlite import RESTORED_CHANGES, SqliteStorage
from farm.store.sqlite_backup import Backup
from farm.store.sqlite_snapshot import DATABASE, SqliteSnapshot
from farm.wire import Op
from gateway.pb.hark.v1 import hark_pb2, hark_pb2_grpc
from tests.farm_process import ROOT, FarmProcess, StartFarm, wait_until
from tests.store.harness import Store, open_sqlite
from tests.test_acceptance import Client, check, counters, ids
from tests.web.web_process import run

OF_ANOTHER = "is a cursor of another Hark"


def tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command `hark`."""
    return subprocess.run(
        [sys.executable, "-m", "farm", *arguments],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip


def restored(copy: Path, directory: Path) -> Path:
    directory.mkdir(mode=0o700)
    copy.rename(directory / DATABASE)
    return directory


def seen_by(client: Client, user: str) -> dict[str, str]:
    """Notifications by their id, each with its post's."""
    return {notification.id: notification.post_id for notification in client.inbox(user)}


def events_since(hark: FarmProcess, cursor: str) -> list[str]:
    """What comes first on a stream that is to go on there: the kinds, and why it is reset."""
    with grpc.insecure_channel(hark.grpc_address) as channel:
        stub: Any = hark_pb2_grpc.InboxServiceStub(channel)
        request = hark_pb2.WatchNotificationsRequest(user_id="user2", since=cursor)
        stream = stub.WatchNotifications(request, timeout=10, wait_for_ready=True)
        found = []
        for event in stream:
            found.append(event.WhichOneof("event"))
            if event.HasField("reset"):
                stream.cancel()
                return [*found, event.reset.reason]
        return found


def live_cursor(hark: FarmProcess) -> str:
    with grpc.insecure_channel(hark.grpc_address) as channel:
        stub: Any = hark_pb2_grpc.InboxServiceStub(channel)
        request = hark_pb2.ListNotificationsRequest(user_id="user2", page_size=1)
        cursor: str = stub.ListNotifications(request, timeout=10).live_cursor
        return cursor


def refusals(hark: FarmProcess, cursor: str) -> list[str]:
    """What is said where a page is to begin there, and where all up to there is to be read."""
    page = 'query($after: String) { inbox(userId: "user2", after: $after) { unreadCount } }'
    (error,) = run(hark.http_address, page, after=cursor)["errors"]
    assert error["extensions"]["code"] == "INVALID_ARGUMENT"
    with grpc.insecure_channel(hark.grpc_address) as channel:
        stub: Any = hark_pb2_grpc.InboxServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.MarkRead(hark_pb2.MarkReadRequest(user_id="user2", up_to=cursor), timeout=10)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return [error["message"], refused.value.details()]


@pytest.mark.process
def test_a_copy_made_under_load_goes_its_own_way_while_the_original_goes_on(
    farm: StartFarm, tmp_path: Path
) -> None:
    """Fault rows 31 and 122."""
    original = farm("--workers", "1", "--simulated-latency-ms", "1-5")
    client = Client(original)
    client.publish_all(ids("before", 200))
    copy = tmp_path / "copy.db"
    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(client.publish_all, ids("during", 300))
        done = tool("--json", "backup", str(copy), "--data-dir", str(original.data_dir))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["running"] is True
        publishing.result(30)
    again = tool("backup", str(copy), "--data-dir", str(original.data_dir))
    assert (again.returncode, "is there already" in again.stderr) == (1, True)

    other = farm("--workers", "1", data_dir=restored(copy, tmp_path / "restored"))
    second = Client(other)
    assert second.publish("before0") == 6, "the first answer again"
    cursor = live_cursor(original)
    for one, name in ((client, "here"), (second, "there")):
        one.publish_all(ids(name, 50))
    ours, theirs = seen_by(client, "user2"), seen_by(second, "user2")
    assert {*ids("before", 200), *ids("there", 50)} <= {*theirs.values()}
    both = {number: post for number, post in ours.items() if number in theirs}
    assert both == {number: theirs[number] for number in both}, "an id was used twice"
    assert not {*both.values()} & {*ids("here", 50), *ids("there", 50)}
    assert events_since(other, cursor) == ["live", "reset", "other_store"]
    for field, why in zip(("after", "up_to"), refusals(other, cursor), strict=True):
        assert why.startswith(f"{field}: {OF_ANOTHER}")
    for one in (client, second):
        one.close()
    for hark in (original, other):
        wait_until(lambda hark=hark: counters(hark)["queue_size"] == 0, 30)  # type: ignore[misc]
        assert hark.stop() == 0
        check(hark.data_dir)


def test_each_that_is_restored_from_one_copy_has_numbers_of_its_own(tmp_path: Path) -> None:
    """Fault row 122: one after the other, too, when the first is lost in its turn."""
    (tmp_path / "made").mkdir()
    chance = random.Random(122)
    original = SqliteStorage.create_or_open(tmp_path / "made", chance=chance, now_us=1)
    copy = Backup(original.db, tmp_path / "copy")
    while not copy.done:
        copy.step()
        copy.wait()
    metas = [original.meta()]
    original.close()
    for number in range(20):
        directory = tmp_path / str(number)
        directory.mkdir()
        shutil.copy(tmp_path / "copy", directory / DATABASE)
        for _ in range(2):  # a second start is no second restore
            storage = SqliteStorage.create_or_open(directory, chance=chance, now_us=1)
            metas.append(storage.meta())
            storage.close()
        assert metas[-1] == metas.pop()
    changes = sorted(meta.change for meta in metas)
    gaps = [later - earlier for earlier, later in pairwise(changes)]
    assert min(gaps) >= RESTORED_CHANGES
    assert max(changes) < 2**62
    assert len({meta.incarnation for meta in metas}) == len(metas) == 21


def test_neither_takes_a_cursor_that_the_other_gave_out(tmp_path: Path) -> None:
    """A place in one inbox is none in the other, and what comes later is unread in both."""
    (tmp_path / "made").mkdir()
    original = Store(partial(open_sqlite, tmp_path / "made"), channels=("inbox",))
    original.follow("ann", "bob")
    original.publish("before", "bob")
    assert isinstance(original.storage, SqliteStorage)
    copy = Backup(original.storage.db, tmp_path / "copy")
    while not copy.done:
        copy.step()
        copy.wait()
    other = Store(
        partial(open_sqlite, restored(tmp_path / "copy", tmp_path / "restored")),
        channels=("inbox",),
    )
    given_out = {}
    for one in (original, other):
        one.publish("after", "bob")
        page = one.reading.inbox("ann", 1, "", False)
        given_out[one] = [page.live_cursor, page.notifications[0].cursor]
    for one, another in ((original, other), (other, original)):
        for cursor in given_out[another]:
            with pytest.raises(InvalidArgument, match=OF_ANOTHER):
                one.reading.inbox("ann", 1, cursor, False)
            with pytest.raises(InvalidArgument, match=OF_ANOTHER):
                one.call(Op.MARK_UP_TO, "ann", cursor)
        one.publish("later", "bob")
        assert one.reading.unread("ann") == 3
        assert one.call(Op.MARK_UP_TO, "ann", given_out[one][0])
        assert one.reading.unread("ann") == 1
    for one in (original, other):
        one.close()


@pytest.mark.process
def test_a_stopped_one_is_copied_too_and_bad_targets_are_named(
    farm: StartFarm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = farm("--workers", "1")
    client = Client(original)
    client.publish("p")
    client.close()
    assert original.stop() == 0
    directory = str(original.data_dir)
    assert cli.main(["backup", str(tmp_path / "copy.db"), "--data-dir", directory]) == 0
    copy = restored(tmp_path / "copy.db", tmp_path / "restored")
    assert cli.main(["check", "--data-dir", str(copy)]) == 0
    snapshot = SqliteSnapshot.open(copy)
    assert snapshot.db.pragma("journal_mode") == "delete", "nothing but one file is needed"
    snapshot.close()
    for target, where, why in (
        (tmp_path / "no" / "such.db", directory, "cannot be written"),
        (tmp_path / "x.db", str(tmp_path), "no database here"),
    ):
        capsys.readouterr()
        assert cli.main(["backup", str(target), "--data-dir", where]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert why in line
        assert not target.exists()

"""An asyncio loop whose time is a number: nobody waits, and what is due next happens next.

loop = VirtualLoop()
process = Process("worker 1", loop)
process.start(coroutine)      its tasks, timers and callbacks are the process's from then on
process.pause()               nothing of it runs, as after SIGSTOP, until
process.resume()
process.kill()                nothing of it ever runs again, not even a `finally`, until
loop.reap()                   ends what is left of all of them, when nobody looks any more
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

Callback = Callable[..., Any]

REAP_S = 1.0

_running: ContextVar[Process | None] = ContextVar("running", default=None)


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. It runs what is ready in the order in which it became so."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self.processes: list[Process] = []
        super().__init__(_Skip(self._pass_s))

    def time(self) -> float:
        return self._now_s

    def _pass_s(self, seconds: float) -> None:
        self._now_s += seconds

    def reap(self) -> None:
        """Cancels every task, so that none is left for the garbage collector to complain about."""
        self.set_exception_handler(lambda *_: None)
        for process in self.processes:
            process.kill()
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task.cancel()
        for process in self.processes:
            process.resume()
        if tasks:
            self.run_until_complete(asyncio.wait(tasks, timeout=REAP_S))

    def call_soon(  # type: ignore[override]
        self, callback: Callback, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        process = _running.get() if context is None else context.get(_running)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        call = _Call(process, callback, args)
        call.handle = super().call_soon(call, context=context)
        return call.handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callback, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        process = _running.get() if context is None else context.get(_running)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        call = _Call(process, callback, args)
        call.handle = handle = super().call_at(when, call, context=context)
        return handle


class _Skip(selectors.BaseSelector):
    """Watches no files; instead of waiting it lets the time pass."""

    def __init__(self, pass_s: Callable[[float], None]) -> None:
        self._pass_s = pass_s
        self._keys: dict[FileDescriptorLike, selectors.SelectorKey] = {}

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> selectors.SelectorKey:
        self._keys[fileobj] = key = selectors.SelectorKey(fileobj, 0, events, data)
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return self._keys

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nobody will ever do anything again")
        self._pass_s(timeout)
        return []


class Process:
    """What runs in the context of one simulated process."""

    def __init__(self, name: str, loop: VirtualLoop) -> None:
        self.name = name
        self.alive = True
        self.ended_by_itself = False
        self.ended: asyncio.Future[Exception | None] = loop.create_future()
        self._loop = loop
        self._held: list[_Call] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._context = copy_context()
        self._context.run(_running.set, self)
        loop.processes.append(self)

    def start(self, main: Coroutine[Any, Any, None]) -> None:
        """Runs `main`; when it ends, so does the process."""
        self._tasks.append(self._loop.create_task(self._run(main), context=self._context))

    async def _run(self, main: Coroutine[Any, Any, None]) -> None:
        error: Exception | None = None
        try:
            await main
        except Exception as raised:  # noqa: BLE001
            error = raised
        if self.alive:
            self.ended_by_itself = True
            self._end(error)

    def kill(self) -> None:
        if self.alive:
            self._end(None)

    def _end(self, error: Exception | None) -> None:
        self.pause()
        self.alive = False
        if not self.ended.done():
            self.ended.set_result(error)

    def pause(self) -> None:
        """Also what is dead is only held, until it is reaped."""
        if self._held is None:
            self._held = []

    def resume(self) -> None:
        held, self._held = self._held or [], None
        for call in held:
            self._loop.call_soon(call.again, context=self._context)

    def soon(self, callback: Callback, *args: Any) -> None:
        """Lets the process do something, as what reaches it from outside does."""
        self._loop.call_soon(callback, *args, context=self._context)

    def hold(self, call: _Call) -> bool:
        """Whether this is not the time for it."""
        if self._held is not None:
            self._held.append(call)
        return self._held is not None


class _Call:
    """A callback of a process."""

    __slots__ = ("_args", "_callback", "_process", "handle")

    handle: asyncio.Handle

    def __init__(self, process: Process, callback: Callback, args: tuple[Any, ...]) -> None:
        self._process = process
        self._callback = callback
        self._args = args

    def __call__(self) -> None:
        if not self._process.hold(self):
            self._callback(*self._args)

    def again(self) -> None:
        """After a pause; meanwhile another may have cancelled it."""
        if not self.handle.cancelled():
            self._callback(*self._args)

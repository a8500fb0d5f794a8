"""A supervised child process for an SDK that can hang, crash or corrupt memory: the parent's side.

    with Child({"task": "recording", "path": "drive.aedat4", "reconstruct": False}) as child:
        opened = child.expect("open")                           # names, resolutions; nothing is read yet
        for packet in stream(child, opened, Losses()): ...      # validated event packets and Frames

Why: dv-processing 2.0.4 loops forever holding the GIL on a damaged packet and aborts on bad coordinates.
Only another process can end that, so this one never imports it.

Protocol, parent (>) and child (<). streams/dv_child is the real child; any program that speaks this on its
stdin and stdout can replace it. A message is one line of JSON with a "type". Bulk data never passes through
the pipes: it lies in the slots of one shared-memory block that the parent creates, slot i at i * slot_bytes.
A message with a "slot" hands that slot over, "free" hands it back; at first the child holds all of them.

    > {"type":"task","task":NAME, ...its arguments}
    < {"type":"started"}                            the SDK is imported
    < {"type":"open","sensor":"...","event_resolution":[w,h]|null,"frame_resolution":[w,h]|null,
       "events_origin":"camera"|...|null,"frames_origin":...|null,"filters":...,"start_us":int|null,"end_us":int|null,
       "samples":["imu", ...]}                      those that will come: for a task with "sensors": true
    > {"type":"ring","shm":NAME,"slots":n,"slot_bytes":b}
    < {"type":"attached"}                           the parent unlinks the name
    > {"type":"read","start_us":int|null,"frames":bool,"samples_us":{"imu":int|null, ...}}   samples from elsewhere;
                                                    may come at any time: abandons the last read
    < {"type":"reading"}
    < {"type":"events","slot":i,"n":n,"at_s":s}     n records of EVENT_DTYPE; s: time.monotonic() when they were there
    < {"type":"frame","slot":i,"t_us":mid-exposure,"exposure_us":e,"height":h,"width":w,"at_s":s}   uint8 RGB [h, w, 3]
    < {"type":"samples","slot":i,"n":n,"kind":"imu"|"triggers"}
    > {"type":"free","slot":i}
    < {"type":"dropped","n":n,"kind":"events"}      what a live child could not hand over: events, frames or samples
    < {"type":"late","n":n}                         so many packets and frames came too late to be put in order
    < {"type":"heartbeat"}                          alive, nothing to deliver
    < {"type":"end","damaged":bool}                 of this read; wait for the next
    < {"type":"error","kind":"missing"|"refused"|"option"|"empty"|"failed","message":"..."}   then the child exits

Task "discover" answers {"type":"cameras","cameras":[{"model":"...","serial":"...", ...}]} instead of "open". A child
exits when its stdin ends, and says something at least every second while it works: silence for WATCHDOG_S means that
it hangs.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from streams.ring import Ring
from streams.types import InputError, Losses

WATCHDOG_S = 2.0
"""Silence after which a child that has started counts as hung and is killed."""
IMPORT_S = 15.0
"""Patience for interpreter and SDK to start: slow on a loaded machine, and no file can make it hang."""

Message = dict[str, Any]


class ChildError(RuntimeError):
    """The child hung, died or gave up. kind: "hung", "died" or the kind of the child's own error message."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Child:
    """One supervised child process and its shared-memory slots.

    task: {"task": NAME, ...its arguments}. argv: another program that speaks the protocol. live: when the
    consumer is slow keep the newest packets and count the events of the others in losses.n_dropped.
    Raises InputError when the SDK is not installed, ChildError when the child does not start.
    """

    def __init__(self, task: Message, argv: Sequence[str] | None = None, live: bool = False,
                 losses: Losses | None = None) -> None:
        self.losses = losses or Losses()
        self.live = live
        self.ring: Ring | None = None
        self._process = subprocess.Popen(
            # -P: never import from the current folder, where a person's own streams.py may lie.
            list(argv or (sys.executable, "-P", "-m", "streams.dv_child")),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=_environment(),
            # Ctrl-C in the terminal is ours to handle: a recording must still be closed properly.
            start_new_session=True,
        )
        self._pipes = _Pipes(self._process, self.losses)
        # Also runs at interpreter exit, so that no child outlives us whatever happened.
        self._end = weakref.finalize(self, _end, self._process, self._pipes.thread)
        self._pipes.thread.start()
        self.send("task", **task)
        try:
            self.expect("started", IMPORT_S)
        except ChildError as error:
            self.close()
            if error.kind == "missing":
                raise InputError(str(error)) from None
            raise

    def send(self, kind: str, /, **fields: object) -> None:
        """Send one message; a dead child is noticed by the next receive()."""
        self._pipes.send({"type": kind, **fields})

    def receive(self, patience_s: float = WATCHDOG_S) -> Message:
        """Return the next message. Raises ChildError after patience_s of silence, on death and on "error"."""
        try:
            message = self._pipes.inbox.get(timeout=patience_s)
        except queue.Empty:
            self._process.kill()
            self.close()
            raise ChildError("hung", f"did not answer for {patience_s:g} s") from None
        if message is None:
            self.close()
            raise ChildError("died", f"ended unexpectedly (exit code {self._process.returncode})")
        if message["type"] == "error":
            self.close()
            raise ChildError(str(message.get("kind")), str(message.get("message")))
        return message

    def expect(self, kind: str, patience_s: float = WATCHDOG_S) -> Message:
        """Return the next message of this kind; what comes before it is thrown away. Raises like receive()."""
        while (message := self.receive(patience_s))["type"] != kind:
            if "slot" in message:
                self.send("free", slot=message["slot"])
        return message

    def share(self, slot_bytes: int) -> Ring:
        """Create the shared slots and wait until the child has them. Raises like receive()."""
        self.ring = Ring(slot_bytes)
        self.send("ring", shm=self.ring.name, slots=self.ring.slots, slot_bytes=slot_bytes)
        self.expect("attached")
        # Both sides have it mapped: without a name nothing can be left behind, even if we are killed.
        self.ring.unlink()
        return self.ring

    def begin(self, start_us: int | None, frames: bool, samples_us: Mapping[str, int | None]) -> None:
        """Ask for everything from start_us on, for kinds of samples from samples_us on where that is given; what was
        still under way is thrown away. Raises like receive()."""
        assert self.ring is not None
        self.send("read", start_us=start_us, frames=frames, samples_us=dict(samples_us))
        self.expect("reading")
        if self.live:
            # Not before: an answer must not be dropped like data. The last quarter of the slots stays with the
            # child, so that it never waits for us to drop something.
            self._pipes.keep = self.ring.slots * 3 // 4

    @property
    def alive(self) -> bool:
        """Whether the process can still be talked to."""
        return self._end.alive

    def close(self) -> None:
        """End the process and release the memory; may be called any number of times, from any thread."""
        self._end()
        if self.ring is not None:
            self.ring.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Pipes:
    """The two pipes of a child; a thread reads one so that every wait can have a limit, on every platform."""

    def __init__(self, process: subprocess.Popen[bytes], losses: Losses) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin: IO[bytes] = process.stdin
        self._stdout: IO[bytes] = process.stdout
        self._lock = threading.Lock()
        self._losses = losses
        self.keep: int | None = None
        self.inbox: queue.Queue[Message | None] = queue.Queue()
        self.thread = threading.Thread(target=self._listen, name="child-pipe", daemon=True)

    def send(self, message: Message) -> None:
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stdin.write(json.dumps(message).encode() + b"\n")

    def _listen(self) -> None:
        # The pipe itself is unbuffered: reading lines from it would take one system call per byte.
        with os.fdopen(os.dup(self._stdout.fileno()), "rb") as lines:
            for line in lines:
                try:
                    message = json.loads(line)
                    message["type"] = str(message["type"])
                except (ValueError, KeyError, TypeError):
                    message = {"type": "error", "kind": "died", "message": "sent something unreadable"}
                if message["type"] == "dropped":
                    self._count_lost(str(message.get("kind", "events")), message.get("n", 0))
                elif message["type"] == "late":
                    self._losses.n_late += message.get("n", 0)
                else:
                    self.inbox.put(message)
                    self._drop_oldest()
        self.inbox.put(None)

    def _count_lost(self, kind: str, count: int) -> None:
        if kind == "events":
            self._losses.n_dropped += count
        else:
            self._losses.n_others_dropped += count

    def _drop_oldest(self) -> None:
        while self.keep is not None and self.inbox.qsize() > self.keep:
            with contextlib.suppress(queue.Empty):
                message = self.inbox.get_nowait() or {}
                self._count_lost(str(message.get("type")), message.get("n", 1 if message.get("type") == "frame" else 0))
                if "slot" in message:
                    self.send({"type": "free", "slot": message["slot"]})


def _environment() -> dict[str, str]:
    """Ours, plus the folder this package was imported from: the child must find the same one."""
    here = str(Path(__file__).resolve().parent.parent)
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _end(process: subprocess.Popen[bytes], thread: threading.Thread) -> None:
    """Ask by closing stdin (a camera must be let go properly), then kill; never leaves a zombie."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(0.3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if thread.ident is not None and thread is not threading.current_thread():
        thread.join(1.0)
    process.stdout.close()

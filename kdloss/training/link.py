"""Messages between the processes of one training run: what they agree on, and whether all are still there.

The first process listens, the others connect to it. Nothing large passes here: the gradients go through the back end's
own connections. Messages are arrays of bytes, never code, and neither encrypted nor signed: for networks of one's own.
"""

import contextlib
import json
import os
import queue
import socket
import struct
import sys
import threading
import time

from kdloss.errors import ConfigError

JOIN = 120.0  # seconds in which all processes must have come
BEAT = 2.0  # between two signs of life
SILENCE = 30.0  # without any, after which a process counts as dead; one that is killed is missed at once
_PARTING = 5.0  # seconds in which the other side of a connection says who it is, and ends it once this side has
_HEADER = struct.Struct(">cQ")
_BEAT, _VALUE, _BYE, _FAILED = b"b", b"v", b"g", b"f"
_LARGEST = 1 << 40


class Link:
    """The connections of one process to the others: of the first to each, of each to the first.

    Args:
        process: number of this process, from 0.
        processes: how many there are.
        sockets: number of another process -> the connection to it.
        end: called with a line for the user once another process is gone; prints it and ends this process by default,
            since what it would wait for never comes.
    """

    def __init__(self, process, processes, sockets, end=None):
        self.process, self.processes = process, processes
        self.kept = "nothing is saved yet"
        self._sockets, self._end = sockets, end or _exit
        self._arrived = {other: queue.SimpleQueue() for other in sockets}
        self._sending = {other: threading.Lock() for other in sockets}
        self._closing, self._ending = threading.Event(), threading.Lock()
        self._readers = [threading.Thread(target=self._read, args=(other,), daemon=True) for other in sockets]
        for connection in sockets.values():
            connection.settimeout(SILENCE)
        for reader in self._readers:
            reader.start()
        threading.Thread(target=self._beat, daemon=True).start()

    @property
    def is_first(self):
        """Whether this is the process that the others connect to."""
        return self.process == 0

    def share(self, content=b""):
        """The bytes that the first process gives, on all of them. The others' ``content`` is not looked at."""
        if not self.is_first:
            return self._arrived[0].get()
        for other in self._sockets:
            self._send(other, _VALUE, content)
        return content

    def agree(self, number):
        """The greatest number (an int) that any process gives, on all of them; each waits for every other."""
        if self.is_first:
            number = max([number, *(int(arrived.get()) for arrived in self._arrived.values())])
        else:
            self._send(0, _VALUE, str(number).encode())
        return int(self.share(str(number).encode()))

    def require_same(self, facts):
        """Checks that all processes give the same facts, a dict for JSON.

        Raises:
            ConfigError: which fact differs, on every process.
        """
        first, own = json.loads(self.share(json.dumps(facts).encode())), json.loads(json.dumps(facts))
        differing = next((name for name in own if own[name] != first.get(name)), None)
        wrong = self.agree(self.process if differing else 0)
        if wrong:
            found = f" ({differing}: {own[differing]}, on process 0 {first.get(differing)})" if differing else ""
            raise ConfigError(
                f"--process {wrong}: differs from process 0{found}: run the same command with the same data and the "
                f"same versions on every machine"
            )

    def leave(self):
        """Ends the connections in order; each process waits until all are here."""
        self.agree(0)
        self._close(_BYE, b"")

    def fail(self, line):
        """Tells the others why this process ends, and ends the connections."""
        self._close(_FAILED, f"process {self.process} ended: {line}".encode())

    def _close(self, kind, content):
        if self._closing.is_set():
            return
        self._closing.set()
        for other in self._sockets:
            self._send(other, kind, content)
        for connection in self._sockets.values():
            with contextlib.suppress(OSError):  # the other has closed it already
                connection.shutdown(socket.SHUT_WR)
        for reader in self._readers:
            reader.join(_PARTING)
        _close_all(self._sockets)

    def _send(self, other, kind, content=b""):
        try:
            with self._sending[other]:
                self._sockets[other].sendall(_packed(kind, content))
        except OSError:
            self._gone(other)

    def _beat(self):
        while not self._closing.wait(BEAT):
            for other in self._sockets:
                self._send(other, _BEAT)

    def _read(self, other):
        try:
            while True:
                kind, content = _receive(self._sockets[other])
                if kind == _VALUE:
                    self._arrived[other].put(content)
                elif kind == _BYE:
                    return
                elif kind == _FAILED:
                    self._stop(content.decode(errors="replace"))
                    return
        except OSError:
            self._gone(other)

    def _gone(self, other):
        self._stop(f"process {other} of {self.processes} is gone")

    def _stop(self, what):
        if self._closing.is_set() or not self._ending.acquire(blocking=False):
            return
        line = f"{what}: {self.kept}; run the same command again on every machine, or on one without --distribute"
        if self.is_first:
            for other in self._sockets:
                threading.Thread(target=self._warn, args=(other, what), daemon=True).start()
            time.sleep(0.2)
        self._end(line)

    def _warn(self, other, what):
        with contextlib.suppress(OSError), self._sending[other]:  # one of them is gone
            self._sockets[other].sendall(_packed(_FAILED, what.encode()))


def listen(host, port, processes, timeout=JOIN):
    """The first process's `Link`: waits until all others have come.

    Raises:
        ConfigError: the address is not this machine's or is taken, or not all came in time.
    """
    try:
        server = socket.create_server((host, port), backlog=processes)
    except OSError as error:
        raise ConfigError(
            f"--distribute {host}:{port}: cannot listen there ({error.strerror or error}): give an address of the "
            f"machine of --process 0 and a free port"
        ) from error
    sockets, ends = {}, time.monotonic() + timeout
    with contextlib.ExitStack() as refused, server:
        while len(sockets) + 1 < processes:
            server.settimeout(max(0.01, ends - time.monotonic()))
            try:
                connection = refused.enter_context(server.accept()[0])
            except TimeoutError:
                missing = sorted(set(range(1, processes)) - set(sockets))
                refused.callback(_close_all, sockets)
                raise ConfigError(
                    f"--distribute {host}:{port}: process {', '.join(map(str, missing))} of {processes} did not come "
                    f"within {timeout:g} s: start the same command with --process {missing[0]} on another machine"
                ) from None
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # somebody else's connection
                connection.settimeout(_PARTING)
                hello = json.loads(_receive(connection)[1])
                number = int(hello["process"])
                wrong = _refusal(number, int(hello["processes"]), processes, sockets)
                connection.sendall(_packed(_VALUE, json.dumps({"refused": wrong}).encode()))
                if not wrong:
                    sockets[number] = connection.dup()
    return Link(0, processes, sockets)


def _close_all(sockets):
    for connection in sockets.values():
        connection.close()


def connect(host, port, processes, process, timeout=JOIN):
    """The `Link` of a process other than the first.

    Raises:
        ConfigError: the first process can't be reached in time, or refuses this one.
    """
    ends, found = time.monotonic() + timeout, "no answer"
    while True:
        try:
            connection = socket.create_connection((host, port), timeout=max(0.1, ends - time.monotonic()))
            break
        except OSError as error:
            found = error.strerror or str(error)
            if time.monotonic() + 0.5 > ends:
                raise ConfigError(
                    f"--distribute {host}:{port}: process 0 cannot be reached ({found}) within {timeout:g} s: start "
                    f"the same command with --process 0 on {host}, and let the machines reach each other"
                ) from None
            time.sleep(0.5)
    with connection:
        hello = {"process": process, "processes": processes}
        try:
            connection.settimeout(timeout)
            connection.sendall(_packed(_VALUE, json.dumps(hello).encode()))
            refused = json.loads(_receive(connection)[1])["refused"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"--distribute {host}:{port}: is no process 0 of a training ({error})") from error
        if refused:
            raise ConfigError(f"--distribute {host}:{port}: {refused}")
        return Link(process, processes, {0: connection.dup()})


def _refusal(number, expected, processes, present):
    """Why a process that wants to come may not, or None."""
    if expected != processes:
        return f"--processes {expected}: process 0 was started with {processes}: give all the same"
    if not 0 < number < processes or number in present:
        return f"--process {number}: is there already: give each machine another number below {processes}"
    return None


def _packed(kind, content):
    return _HEADER.pack(kind, len(content)) + content


def _receive(connection):
    """The next message: its kind and its content. Raises OSError if the connection is closed, silent or not a link."""
    kind, length = _HEADER.unpack(_exactly(connection, _HEADER.size))
    if length > _LARGEST or kind not in (_BEAT, _VALUE, _BYE, _FAILED):
        raise OSError("not a message")
    return kind, _exactly(connection, length)


def _exactly(connection, length):
    parts = []
    while length:
        part = connection.recv(min(length, 1 << 20))
        if not part:
            raise OSError("closed")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _exit(line):
    sys.stdout.flush()
    print(f"error: {line}", file=sys.stderr, flush=True)
    os._exit(1)

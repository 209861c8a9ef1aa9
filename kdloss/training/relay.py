"""Hides from a process that a server is gone.

JAX aborts a process, by SIGABRT and with a stack trace, as soon as the connection to its coordinator breaks. Through a
relay in the same process the connection never breaks, so that the process has the time to end in order.
"""

import contextlib
import socket
import threading


def relay(host, port):
    """Passes connections on to ``host:port`` from a port of this machine's loopback, which is returned."""
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_accept, args=(server, host, port), daemon=True).start()
    return server.getsockname()[1]


def _accept(server, host, port):
    while True:
        near, _ = server.accept()
        far = None
        with contextlib.suppress(OSError):
            far = socket.create_connection((host, port))
        if far is None:  # the other side may not listen yet: the client tries again
            near.close()
            continue
        threading.Thread(target=_pass, args=(near, far, True), daemon=True).start()
        threading.Thread(target=_pass, args=(far, near, False), daemon=True).start()


def _pass(source, sink, ends):
    """Until the source is closed; then closes both if it ``ends`` the connection.

    That the sink is gone is not passed on: what is meant for it is lost.
    """
    with contextlib.suppress(OSError):
        while part := source.recv(1 << 16):
            with contextlib.suppress(OSError):
                sink.sendall(part)
    if ends:
        for connection in (source, sink):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

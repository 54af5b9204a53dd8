"""A server that speaks PostgreSQL's protocol just far enough to say things in LATIN1."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

WORDS = "Passwort-Authentifizierung für »x« fehlgeschlagen".encode("latin-1")
SHOWN = "Passwort-Authentifizierung f\\xfcr \\xbbx\\xab fehlgeschlagen"
_SSL_REQUEST = b"\x04\xd2\x16\x2f"


def message(kind, body):
    return kind + struct.pack(">I", len(body) + 4) + body


def error(severity, code):
    fields = (b"S" + severity, b"V" + severity, b"C" + code, b"M" + WORDS)
    return message(b"E", b"\0".join(fields) + b"\0\0")


def ready(state):
    return message(b"Z", state)


PARAMETERS = {
    b"client_encoding": b"UTF8", b"DateStyle": b"ISO, MDY", b"server_version": b"15.0",
    b"standard_conforming_strings": b"on", b"integer_datetimes": b"on",
}  # fmt: skip


def reported(parameters):
    return b"".join(message(b"S", b"%s\0%s\0" % pair) for pair in parameters.items())


@contextlib.contextmanager
def strange_server(rejection=None, answer=b"", ends=False, parameters=PARAMETERS):
    """A connection string of one.

    Args:
        rejection: The SQLSTATE of the error that it answers every client with.
        answer: Otherwise, what it sends for each statement but BEGIN.
        ends: Whether it closes the connection then.
        parameters: What it reports when a client has come.
    """
    welcome = (
        message(b"R", struct.pack(">I", 0))
        + reported(parameters)
        + message(b"K", struct.pack(">II", 1, 2))
        + ready(b"I")
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(
            target=_serve, args=(listener, rejection, welcome, answer, ends), daemon=True
        ).start()
        yield f"host=127.0.0.1 port={listener.getsockname()[1]} user=x dbname=x gssencmode=disable"
        listener.shutdown(socket.SHUT_RDWR)


def _serve(listener, rejection, welcome, answer, ends):
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            with client, contextlib.suppress(OSError, struct.error):
                _talk(client, rejection, welcome, answer, ends)


def _talk(client, rejection, welcome, answer, ends):
    if client.recv(8)[4:] == _SSL_REQUEST:
        client.sendall(b"N")
        client.recv(8)
    client.recv(1000)
    if rejection is not None:
        client.sendall(error(b"FATAL", rejection))
        return
    client.sendall(welcome)
    while header := client.recv(5):
        (length,) = struct.unpack(">I", header[1:])
        text = client.recv(length - 4) if length > 4 else b""
        if header[:1] == b"X":
            return
        if b"BEGIN" in text:
            together = b";" in text  # with a statement
            client.sendall(message(b"C", b"BEGIN\0") + (b"" if together else ready(b"T")))
            if not together:
                continue
        client.sendall(answer)
        if ends:
            return

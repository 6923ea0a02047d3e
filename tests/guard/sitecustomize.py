"""Python imports this when it starts: the process reaches this machine alone, and tells what else it tried to reach.

Its folder is on PYTHONPATH of all commands that tests run, so that their own processes have it too.
"""

import os
import socket
import sys
from typing import Any

HERE = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "", None)
CONNECTIONS = ("socket.connect", "socket.sendto", "socket.sendmsg")
LOOK_UPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")


def confine(log: str) -> None:
    """Refuse every address of another machine, and every name, from now on; a line in ``log`` says which."""

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in LOOK_UPS:
            host = arguments[0]
        elif event in CONNECTIONS and isinstance(arguments[1], tuple):
            host = arguments[1][0]
        else:
            return
        host = host.decode() if isinstance(host, bytes) else host
        if host not in HERE:
            with open(log, "a", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is not there yet
                file.write(f"{host} {event} {' '.join(sys.argv)}\n")
            raise socket.gaierror(socket.EAI_NONAME, "refused by the tests")

    sys.addaudithook(watch)


if "REACHED" in os.environ:
    confine(os.environ["REACHED"])

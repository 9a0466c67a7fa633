"""http(s) sessions in which connecting is bounded in time over all addresses of a host, its look-up included.

urllib3 asks the addresses of a host one after the other, each for the whole time limit: eight that do not answer take
eight times as long. Here the next one is asked soon after (RFC 8305), and the first that answers is taken.
"""

import os
import selectors
import socket
import threading
import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

_NEXT_ADDRESS = 0.25  # seconds until the next address is asked too, as RFC 8305 recommends

_Address = tuple[Any, ...]  # as `socket.getaddrinfo` gives it


def session() -> requests.Session:
    made = requests.Session()
    for scheme in ("http://", "https://"):
        made.mount(scheme, _Adapter())
    return made


def connect(host: str, port: int, timeout: float) -> socket.socket:
    """A connection to the address of `host` that answers first. Raises `OSError`; `TimeoutError` after `timeout` s."""
    deadline = time.monotonic() + timeout
    waiting = _look_up(host, port, timeout)
    failure: OSError = TimeoutError()
    with selectors.DefaultSelector() as asked:
        try:
            while waiting or asked.get_map():
                if waiting:
                    failure = _ask(waiting.pop(0), asked) or failure
                now = time.monotonic()
                if now >= deadline:
                    raise TimeoutError
                for key, _ in asked.select(min(deadline - now, _NEXT_ADDRESS) if waiting else deadline - now):
                    answered = key.fileobj
                    assert isinstance(answered, socket.socket)
                    asked.unregister(answered)
                    if not (code := answered.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                        answered.settimeout(timeout)
                        return answered
                    answered.close()
                    failure = OSError(code, os.strerror(code))
            raise failure
        finally:
            for key in list(asked.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]


def _look_up(host: str, port: int, timeout: float) -> list[_Address]:
    """The addresses of `host`. In a thread, since the system's look-up has its own time limits: often 10 s or more."""
    found: list[_Address] = []
    failures: list[Exception] = []

    def look_up() -> None:
        try:
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            failures.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(timeout)
    if failures:
        raise OSError(str(failures[0]))
    if thread.is_alive():
        raise TimeoutError
    return found


def _ask(address: _Address, asked: selectors.BaseSelector) -> OSError | None:
    """Begins to connect; returns why it cannot."""
    family, kind, protocol, _, target = address
    try:
        asking = socket.socket(family, kind, protocol)
    except OSError as error:  # such as IPv6 where there is none
        return error
    asking.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as urllib3 does
    asking.setblocking(False)
    try:
        asking.connect(target)
    except BlockingIOError:
        pass
    except OSError as error:
        asking.close()
        return error
    asked.register(asking, selectors.EVENT_WRITE)
    return None


class _Bounded(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        assert isinstance(self.timeout, int | float)
        try:
            return connect(self.host.strip("[]"), self.port or self.default_port, self.timeout)
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"{self.host} did not answer in {self.timeout} s") from error
        except OSError as error:
            raise NewConnectionError(self, str(error)) from error


class _BoundedTls(_Bounded, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Bounded


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _BoundedTls


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):  # which has connections of its own
            manager.pool_classes_by_scheme = self.poolmanager.pool_classes_by_scheme
        return manager

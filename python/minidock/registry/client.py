"""The registry client of one process: connections and tokens that all its threads share."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from minidock.errors import RegistryError, RegistryUnauthorized, RegistryUnreachable
from minidock.registry import failures, wire
from minidock.registry.auth import Authorizer
from minidock.registry.hosts import Endpoint, Hosts, api_host, is_loopback
from minidock.registry.kinds import CERTIFICATES
from minidock.registry.proxies import Chooser
from minidock.registry.repository import Repository
from minidock.registry.session import Call, Session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minidock.config import Config
    from minidock.images.references import Reference
    from minidock.registry.cancel import Cancel
    from minidock.registry.credentials import Credentials, Login
    from minidock.registry.search import SearchResult

DEFAULT_ATTEMPTS = 5


class Client:
    """Connections and tokens of one process, shared by threads; a context manager."""

    def __init__(
        self,
        config: Config,
        credentials: Credentials | None = None,
        *,
        limits: wire.Limits | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Make a client; nothing is connected yet. Raises InvalidArgument for settings that make no sense."""
        import minidock

        env = os.environ if environment is None else environment
        directories = env.get("MINIDOCK_CERTS_D")
        hosts = Hosts(
            config.insecure_registries,
            config.registry_mirrors,
            directories.split(":") if directories else CERTIFICATES,
        )
        self._credentials = credentials
        self._session = Session(
            hosts,
            Chooser(config.proxies, env),
            limits or wire.Limits(),
            config.max_download_attempts or DEFAULT_ATTEMPTS,
            f"minidock/{minidock.__version__}",
        )
        self._session.authorizer = Authorizer(self._session, self._lookup)
        self._lock = threading.Lock()
        self._endpoints: dict[str, Endpoint] = {}

    def repository(
        self, reference: Reference, *, push: bool = False, login: Login | None = None, cancel: Cancel | None = None
    ) -> Repository:
        """The repository of a reference; pulls from Docker Hub ask the configured mirrors first.

        Asks a registry that may be insecure which protocol it speaks. Raises RegistryUnreachable then.
        """
        endpoints = [self.endpoint(reference.domain, cancel=cancel)]
        if reference.domain == "docker.io" and not push:
            endpoints = [*self._session.hosts.mirrors, *endpoints]
        return Repository(self._session, endpoints, reference, push=push, login=login)

    def check_login(self, host: str, login: Login, *, cancel: Cancel | None = None) -> Login:
        """Try credentials; returns what to keep: an identity token in place of the password, if there is one.

        Raises RegistryUnauthorized for credentials that are refused, RegistryUnreachable, RegistryError.
        """
        endpoint = self.endpoint(host, cancel=cancel)
        call = Call(endpoint, "GET", f"{endpoint.url}/v2/", login=login)
        answer = self._session.send(call, cancel)
        if answer.status in (401, 403):
            raise RegistryUnauthorized(f"log in to {host}: {failures.refusal(answer).text}")
        if answer.status != 200:
            raise RegistryError(f"log in to {host}: {failures.refusal(answer).text}")
        answer.discard()
        identity = self._session.authorizer.identity(call)
        return login._replace(password="", identity_token=identity) if identity else login

    def login(self, host: str, login: Login, *, cancel: Cancel | None = None) -> Login:
        """Try credentials and use them from now on. Returns and raises as :meth:`check_login`."""
        checked = self.check_login(host, login, cancel=cancel)
        self._session.authorizer.remember(host, checked._replace(password=login.password))
        return checked

    def search(
        self,
        term: str,
        limit: int = 25,
        filters: Mapping[str, Sequence[str]] | None = None,
        *,
        cancel: Cancel | None = None,
    ) -> list[SearchResult]:
        """Search for ``[HOST/]WORDS``; filters as those of ``docker search``: is-official, is-automated, stars.

        Raises InvalidArgument, Unsupported for a registry that has no search and no catalog, and as Repository.head.
        """
        from minidock.registry import search

        host, words = search.split(term)
        wanted = search.parse_filters(filters, limit)
        return search.search(self._session, self.endpoint(host, cancel=cancel), words, wanted, cancel)

    def endpoint(self, host: str, *, cancel: Cancel | None = None) -> Endpoint:
        """Where the registry named ``host`` is. One that may be insecure is asked once, without credentials."""
        with self._lock:
            known = self._endpoints.get(host)
        if known is None:
            hosts = self._session.hosts
            api = api_host(host)
            known = Endpoint(host, f"https://{api}", False)
            if hosts.is_insecure(api):
                known = self._probe(host, api, cancel)
            with self._lock:
                self._endpoints[host] = known
        return known

    def _probe(self, host: str, api: str, cancel: Cancel | None) -> Endpoint:
        """https if the registry speaks it, else http.

        A port of this machine is asked by http first, which spares setting up TLS; where no port is named, https and
        http are two ports, of which https comes first.
        """
        secure, plain = Endpoint(host, f"https://{api}", True), Endpoint(host, f"http://{api}", True)
        named = api.rpartition("]")[2].count(":") == 1
        order = [secure, plain]
        if named and is_loopback(api) and not self._session.hosts.has_certificates(api):
            order = [plain, secure]
        failed: list[RegistryUnreachable] = []
        for endpoint in order:
            call = Call(endpoint, "GET", f"{endpoint.url}/v2/", again=False, authorization="")
            try:
                answer = self._session.send(call, cancel)
            except RegistryUnreachable as error:
                failed.append(error)
                continue
            answer.discard()
            # A server that speaks TLS says 400 to plain text.
            if answer.status != 400 or endpoint is order[-1]:
                return endpoint
        if len(failed) < len(order):
            return plain
        raise failed[0]

    def _lookup(self, host: str) -> Login | None:
        with self._lock:
            if self._credentials is None:
                from minidock.registry.credentials import Credentials

                self._credentials = Credentials()
        return self._credentials.lookup(host)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

"""Databases on a named volume, killed under load again and again: what they said is stored is there, and whole.

100 times each in a soak run (MINIDOCK_SOAK=1).
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import minidock
from tests.conftest import wait_for
from tests.rootfs import mariadb_tar, servers_tar, tree

if TYPE_CHECKING:
    from minidock.containers.options import CreateOptions as Options

pytestmark = pytest.mark.timeout(3600 if os.environ.get("MINIDOCK_SOAK") else 400)

CYCLES = 100 if os.environ.get("MINIDOCK_SOAK") else 4
ROWS = 200_000

POSTGRES = """
bin=$(echo /usr/lib/postgresql/*/bin)
[ -e /data/pg/PG_VERSION ] || { $bin/initdb --data-checksums -D /data/new -A trust >/dev/null; mv /data/new /data/pg; }
exec $bin/postgres -D /data/pg -h '' -k /tmp
"""
# Each row is a transaction of its own, and its number is said when that is over.
POSTGRES_LOAD = """
seq $0 $1 | sed 's/.*/insert into t values (&, repeat(md5(&::text), 20));\\n\\\\echo &/' |
    psql -qAt -v ON_ERROR_STOP=1 -h /tmp -U postgres
"""
MARIADB = """
[ -e /data/my ] || {
    mariadb-install-db --user=mysql --datadir=/data/new --auth-root-authentication-method=normal >/dev/null
    mv /data/new /data/my
}
exec mariadbd --user=mysql --datadir=/data/my --skip-networking --socket=/tmp/my.sock --pid-file=/tmp/my.pid
"""
MARIADB_LOAD = """
seq $0 $1 | sed 's/.*/insert into t values (&, repeat(md5(&), 20)); select &;/' |
    mariadb -NBn --unbuffered -S /tmp/my.sock test
"""


class Database:
    """A container with a database on the volume ``data``, and one like it after each kill."""

    def __init__(self, engine: minidock.Engine, files: Path, script: str, client: Sequence[str], user: str) -> None:
        self.engine = engine
        self.client = client
        self._command = ["sh", "-ec", script]
        self._options: Options = {"rootfs": str(files), "network": "none", "volumes": {"data": {"bind": "/data"}}}
        self._user = user
        engine.volumes.create("data")
        engine.containers.run(None, ["chown", user, "/data"], remove=True, **self._options)
        self.stored: set[int] = set()

    def start(self) -> None:
        """Run it on the volume, and wait until it answers."""
        self.container = self.engine.containers.run(None, self._command, user=self._user, detach=True, **self._options)
        wait_for(lambda: self._asked("select 1").exit_code == 0, 120, "the database")

    def ask(self, statement: str) -> str:
        """What it answers to a statement."""
        done = self._asked(statement)
        assert done.exit_code == 0, done
        return done.stdout.decode().strip()

    def _asked(self, statement: str) -> minidock.ExecResult:
        return self.container.exec([*self.client, statement])

    def killed_under(self, load: str) -> None:
        """Write rows until it is killed; what was said to be stored is in ``stored``."""
        first = max(self.stored, default=0) + 1_000
        said: list[bytes] = []

        def write() -> None:
            said.append(self.container.exec(["sh", "-c", load, str(first), str(first + ROWS)]).stdout)

        writer = threading.Thread(target=write)
        writer.start()
        wait_for(lambda: int(self.ask("select count(*) from t")) > len(self.stored), 30, "the first row")
        threading.Event().wait(random.uniform(0, 0.5))
        self.container.kill()
        self.container.remove(force=True, volumes=True)  # a named volume stays
        writer.join()
        now = {int(word) for word in said[0].split()[:-1]}  # the last line may be a part of one
        assert now
        self.stored |= now

    def check(self) -> None:
        """All that was stored is there."""
        there = {int(word) for word in self.ask("select id from t").split()}
        assert self.stored <= there
        self.stored = there


def test_postgresql(engine: minidock.Engine) -> None:
    client = ["psql", "-qAt", "-v", "ON_ERROR_STOP=1", "-h", "/tmp", "-U", "postgres", "-c"]
    database = Database(engine, tree(servers_tar()), POSTGRES, client, "postgres")
    database.start()
    database.ask("create table t (id int primary key, text text)")
    database.ask("create extension amcheck")
    for _ in range(CYCLES):
        database.killed_under(POSTGRES_LOAD)
        database.start()
        database.check()
        assert database.ask("select bt_index_check('t_pkey', true)") == ""
        assert database.ask("select * from verify_heapam('t')") == ""
    assert database.ask("show data_checksums") == "on"


def test_mariadb(engine: minidock.Engine) -> None:
    client = ["mariadb", "-NB", "-S", "/tmp/my.sock", "test", "-e"]
    database = Database(engine, tree(mariadb_tar()), MARIADB, client, "root")
    database.start()
    database.ask("create table t (id int primary key, text text) engine=innodb")
    for _ in range(CYCLES):
        database.killed_under(MARIADB_LOAD)
        database.start()
        database.check()
        assert database.ask("check table t extended").split("\t")[2:] == ["status", "OK"]

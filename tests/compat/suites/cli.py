"""The docker CLI's commands against an engine: ``python -m tests.compat.suites.cli docker|minidock``.

Prints a JSON list with the answers to the lines of :data:`LINES`: exit codes, output, errors, without what differs
anyhow; `just record-docker-cli` keeps those of Docker.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.compat.suites.engines import PEERS_ROOT, engine
from tests.rootfs import busybox_tar

Answer = tuple[int, str, str]
PROGRAM = PEERS_ROOT / "root" / "usr" / "bin" / "docker"

# REG is the registry, with what Docker Hub has, too. `STDIN | …` gives a line something to read.
LINES = r"""
version --format {{.Server.APIVersion}}·{{.Server.Os}}·{{.Client.APIVersion}}
info --format {{.OSType}}·{{.Swarm.LocalNodeState}}·{{.Containers}}·{{.Images}}·{{.LoggingDriver}}
pull -q busybox
pull alpine
pull alpine
pull REG/nothing:1
image ls --format {{.Repository}}:{{.Tag}}
images --format table
image inspect -f {{.Os}}·{{.Config.Cmd}}·{{.RepoTags}} busybox
image inspect nothing
history --format {{.CreatedBy}}·{{.Comment}} busybox
history -q busybox
tag busybox REG/some/thing:1
tag nothing other
push -q REG/some/thing:1
push REG/not/here:1
pull -q REG/some/thing:1
login -u user -p password REG
logout REG
logout REG
manifest inspect --insecure REG/nothing:1
manifest create --insecure REG/some/list:1 REG/some/thing:1
manifest annotate REG/some/list:1 REG/some/thing:1 --variant v1
manifest push --insecure REG/some/list:1
manifest rm REG/some/list:1
manifest rm REG/some/list:1
rmi REG/some/thing:1
rmi nothing
run --rm busybox echo hi
run --rm busybox sh -c echo·out;·echo·err·>&2;·exit·3
STDIN | run --rm -i busybox cat
run --rm -e A=b -w /tmp -u daemon -h named busybox sh -c echo·$A;·pwd;·id·-un;·hostname
run --rm --read-only busybox touch /x
run --rm --pull never nothing-of-this-name true
run --rm --memory 1m busybox true
run --rm --network nothing busybox true
run --rm busybox nothing-of-this-name
run --rm busybox /etc
run --rm -v relative/path:/x busybox true
run --rm --mount type=volume,dst=/v,volume-opt=a busybox true
run --rm -p nonsense busybox true
run --rm --cap-add NOTHING busybox true
run --rm --security-opt nonsense busybox true
create --name made busybox sh -c echo·made;·exit·5
create --name made busybox
create --name -x busybox
start -a made
start nothing
inspect -f {{.State.Status}}·{{.State.ExitCode}}·{{.Config.Cmd}}·{{.HostConfig.NetworkMode}} made
container inspect nothing
logs made
logs -t --details made
logs -f -n 1 made
logs nothing
wait made
wait nothing
run -d --name box --label x=y -p 127.0.0.1::80 --expose 81 --health-cmd true --health-interval 1h busybox sleep 100
ps --format {{.Names}}·{{.Image}}·{{.Command}}·{{.State}}·{{.Label·"x"}}
ps -a --format table·{{.Names}}\t{{.Status}}\t{{.Networks}}\t{{.Mounts}}\t{{.LocalVolumes}}
ps -a --filter nonsense=1
ps -aqf name=box
ps -a --filter exited=5 --format {{.Names}}
port box 81
port box 80/udp
port nothing
exec box sh -c echo·in;·exit·4
exec -w /tmp -u daemon -e A=b box sh -c pwd;·id·-un;·echo·$A
STDIN | exec -i box cat
exec -d box true
exec nothing true
exec made true
exec box nothing-of-this-name
exec -u nobody-here box true
exec -w /nothing box true
exec -t box tty
top box -o pid,comm
top made
stats --no-stream --format {{.Name}}·{{.PIDs}} box
stats --no-stream nothing
pause box
exec box true
pause box
ps --format {{.Names}}·{{.State}}
unpause box
unpause box
rm box
rename box other
rename nothing else
rename other made
update --memory 64m --memory-swap 64m other
update --memory 1k other
update --restart always other
run --rm --link other:alias busybox sh -c grep·-o·alias.*other·/etc/hosts
update --restart no other
cp file other:/root/file
cp other:/nothing .
cp file nothing:/
cp other:/root/file back
exec other cat /root/file
diff other
diff nothing
attach made
attach nothing
export -o tar other
export nothing
commit -m words -a somebody -c ENV·B=c other kept:1
commit nothing
image inspect -f {{.Comment}}·{{.Author}}·{{.Config.Env}} kept:1
save -o image.tar kept:1
save nothing
rmi kept:1
load -i image.tar
load -q -i image.tar
STDIN | load
load -i file
import -c CMD·["sh"] -m imported tar imported:1
import nothing.tar
run --rm imported:1 cat /root/file
stop -t 0 other
stop other
stop nothing
start other
restart -t 0 other
restart nothing
kill other
kill other
kill -s NONSENSE made
kill nothing
rm -v other made
rm nothing
rm -f nothing
build -q -t built:1 context
run --rm built:1
build -q -f Other context
build -q --target nothing context
build -q nothing
builder build -q context
builder prune -f --filter id=nothing
rmi built:1
volume create --label a=b vol
volume create vol
volume create -d nothing vol2
volume create -o type=tmpfs -o device=tmpfs vol3
volume ls --format {{.Name}}·{{.Driver}}·{{.Labels}}·{{.Scope}}
volume ls -q --filter dangling=true
volume inspect -f {{.Name}}·{{.Driver}}·{{.Labels}}·{{.Options}} vol vol3
volume inspect nothing
run -d --name user -v vol:/v busybox sleep 100
volume rm vol
rm -f user
volume rm vol vol3
volume rm vol
volume prune -af
network create --label a=b --subnet 10.99.1.0/24 net
network create net
network create -d nothing net2
network create --subnet 10.99.1.0/25 net3
network create --internal net4
network ls --format {{.Name}}·{{.Driver}}·{{.Scope}}·{{.Internal}} --filter type=custom
network inspect -f {{.Name}}·{{.Driver}}·{{.IPAM}}·{{.Options}}·{{.Labels}} net
network inspect nothing
run -d --name first --network net --ip 10.99.1.9 --network-alias one busybox sleep 100
run --rm --network net busybox sh -c ping·-c1·-w5·one·>/dev/null;·echo·$?
network connect --alias two net4 first
network connect net4 first
network connect nothing first
network connect net nothing
inspect -f {{range·$k,·$v·:=·.NetworkSettings.Networks}}{{$k}}·{{$v.IPAMConfig}}·{{$v.Aliases}};{{end}} first
network disconnect net4 first
network disconnect net4 first
network rm net
rm -f first
network rm net net4
network rm bridge
network rm nothing
network prune -f
container prune -f
image prune -f
image prune -af --filter label=nothing
system df --format {{.Type}}
system prune -f --filter label=nothing
system prune -f --filter nonsense=1
events --since 1h --until 0s --filter event=nonsense
events --since 1h --until 0s --filter container=made --format {{.Action}}
events --since nonsense --until 0s
inspect nothing
inspect --type nonsense busybox
node ls
node inspect self
node ps
node rm x
node demote x
node promote x
node update --role worker x
service ls
service create busybox
service inspect x
service logs x
service ps x
service rm x
service rollback x
service scale x=1
service update x
secret ls
STDIN | secret create x -
secret inspect x
secret rm x
config ls
STDIN | config create x -
config inspect x
config rm x
stack ls
stack config -c stack.yaml
stack deploy -c stack.yaml x
stack ps x
stack rm x
stack services x
swarm leave
swarm join-token worker
swarm unlock-key
swarm unlock
swarm update --autolock
swarm ca
plugin ls
plugin inspect x
plugin rm x
plugin enable x
plugin disable x
plugin set x a=b
plugin push x
plugin upgrade --skip-remote-check x y
checkpoint ls x
context ls -q
context show
context create --docker host=unix:///nothing ctx
context update --description words ctx
context inspect -f {{.Name}} ctx
context export ctx ctx.tar
context use ctx
context use default
context rm ctx
context import ctx ctx.tar
context rm ctx
rmi -f imported:1
rmi busybox alpine
images -q
"""

DROPPED = re.compile(
    r"^(SHORT|[0-9a-f]{12}): .*\n|^WARNING! Using --password.*\n|^(DEPRECATED: The legacy builder|            ).*\n|"
    r"^WARNING! Your credentials.*\n|^Configure a credential helper.*\n|^https://docs.docker.com/.*\n|"
    r'^time="[^"]*" level=error msg="Can.t add file.*\n|^\n',
    re.MULTILINE,
)
CLEANED = (
    (r"\b[0-9a-f]{64}\b", "ID"),
    (r"\b[0-9a-f]{12}\b", "SHORT"),
    (r"\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d)", "TIME"),
    (r"\b(About a|About an|Less than a|\d+) (second|minute|hour|year|month|week)s?\b( ago)?", "AGO"),
    (r"\b[0-9.]+ ?[kMG]?B\b", "SIZE"),
    (r"\b[0-9]+ +sleep$", "PID sleep"),
    (r" +", " "),
)


def clean(text: str, places: dict[str, str]) -> str:
    """``text`` without what differs between two engines that do the same."""
    for place, name in places.items():
        text = text.replace(place, name)
    for pattern, name in CLEANED:
        text = re.sub(pattern, name, text, flags=re.MULTILINE)
    text = re.sub(r"\n\nRun 'docker .*", "", text)
    return DROPPED.sub("", text)


def run(line: str, host: str, folder: Path, registry: str) -> Answer:
    """Run a line; ``·`` in it is a blank inside a word."""
    given, bar, rest = line.partition(" | ")
    words = [word.replace("·", " ").replace("REG", registry) for word in (rest if bar else line).split(" ")]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "DOCKER_HOST": host, "DOCKER_BUILDKIT": "0"}
    if words[0] == "context":
        del env["DOCKER_HOST"]
    done = subprocess.run(
        [PROGRAM, *words],
        input=f"{given.lower()}\n".encode() if bar else b"",
        capture_output=True,
        timeout=60,
        check=False,
        cwd=folder,
        env=env,
    )
    places = {registry: "REG", host: "HOST", str(folder): "FOLDER"}
    out, error = (clean(text.decode(errors="replace"), places) for text in (done.stdout, done.stderr))
    return done.returncode, out, error


def files(folder: Path) -> None:
    """Make what the lines name."""
    (folder / "file").write_text("data\n")
    (folder / "context").mkdir()
    (folder / "context" / "Dockerfile").write_text("FROM busybox\nCOPY f /f\nRUN echo more >> /f\nCMD cat /f\n")
    (folder / "context" / "f").write_text("of the context\n")
    (folder / "stack.yaml").write_text("services: {web: {image: busybox}}\n")


def lines() -> list[str]:
    """The lines of the table."""
    return [line for line in LINES.splitlines() if line]


def main() -> None:
    """The program."""
    busybox_tar()
    with (
        tempfile.TemporaryDirectory(prefix="cli-", dir="/var/tmp") as base,
        engine(sys.argv[1], Path(base)) as (host, registry),
    ):
        folder = Path(base) / "work"
        folder.mkdir()
        files(folder)
        answers = [run(line, host, folder, registry.host) for line in lines()]
    print("[", ",\n".join(json.dumps(answer) for answer in answers), "]", sep="\n")


if __name__ == "__main__":
    main()

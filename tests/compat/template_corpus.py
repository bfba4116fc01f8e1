"""Templates that Docker's users write, and how the real Docker answers; ``record`` asks it, the snapshot keeps it.

``python tests/compat/template_corpus.py COMMAND... > tests/unit/cli/template_corpus.json`` (COMMAND starts docker with
an image ``busybox``) writes the snapshot.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

TEMPLATES = r"""
{{.Foo}}
{{.Config.Foo}}
{{.Config.Env}}
{{.Config.Labels}}
{{json .Config.Labels}}
{{.Id}}\t{{.Name}}
{{.ID}}
{{.HostConfig.Memory}}
{{index .Config.Labels "a"}}
{{index .Config.Labels "zz"}}|
{{.Config.Labels.zz}}|
{{.State.Health}}
{{.State.Health.Status}}
{{range .Config.Env}}{{println .}}{{end}}
{{printf "%s %d %v %q" .Name .HostConfig.Memory .Config.Cmd .Config.Cmd}}
{{.HostConfig.PortBindings}}
{{(index (index .HostConfig.PortBindings "80/tcp") 0).HostPort}}
{{range $p, $b := .HostConfig.PortBindings}}{{$p}} -> {{(index $b 0).HostPort}}{{end}}
{{join .Config.Env ","}}
{{len .Config.Env}}
{{index .Config.Env 9}}
{{.Created}}
{{.Config.Entrypoint}}|{{json .Config.Entrypoint}}
{{bogus}}
{{if}}
{{.Mounts}}
{{.Args}}
{{.
{{range}}
{{end}}
{{"abc
{{eq .Name 1}}
{{.Name.Foo}}
{{upper .Name}} {{title "hello world"}} {{truncate .Id 5}} {{pad "x" 2 3}}|{{split "a,b" ","}}
{{.HostConfig.LogConfig}}
{{table .Name}}
table {{.Name}}
{{.State.Pid}} {{.State.ExitCode}} {{.State.Running}}
{{ }}
{{/* c */ -}}  x
{{- /* c */ -}}  x
{{/* c }} x
{{.Name | printf "%s-%s" "a"}}
{{$x := .Name}}{{$x}}{{$x = "b"}}{{$x}}
{{$y}}
{{with .Config}}{{.Image}}{{else}}n{{end}}
{{with .Args}}{{len .}}{{end}}
{{with .Mounts}}m{{else with .Name}}{{.}}{{end}}
{{with .Foo}}{{else with .Name}}{{.}}{{end}}
{{range $i, $e := .Args}}{{if $i}},{{end}}{{$e}}{{end}}
{{range 3}}{{.}}{{end}}
{{range $i := .Args}}{{$i}};{{end}}
{{range .Mounts}}x{{else}}none{{end}}
{{range .Args}}{{if eq . "echo hi"}}{{break}}{{end}}{{.}}{{end}}
{{range .Args}}{{if eq . "-c"}}{{continue}}{{end}}{{.}}{{end}}
{{and true .Name}} {{or "" "x"}} {{not 1}} {{and "" 1}} {{or 0 ""}}|
{{slice .Name 1 3}} {{slice .Args 1}} {{slice .Args 0 1}}
{{slice .Args 2 1}}
{{slice .Args 5}}
{{print 1 2 "a" "b" 3}}
{{println 1 "a"}}
{{1.5}} {{1e3}} {{0x1F}} {{1_000}} {{'a'}} {{100000000000000000000000.0}} {{0.00001}} {{'\n'}} {{0b11}} {{017}} {{0o17}}
{{nil}}
{{.Name.}}
{{.Name | }}
{{(.Name)}} {{(index .Args 0)}}
{{.Name "x"}}
{{index .Args}}
{{index .Args "a"}}
{{index .Name 0}}
{{len 3}}
{{len nil}}
{{html "<a>"}} {{js "a'"}} {{urlquery "a b&c"}}
{{define "T"}}[{{.}}]{{end}}{{template "T" .Name}}
{{block "B" .Name}}<{{.}}>{{end}}
{{define "T"}}{{if .}}{{slice . 1}}{{end}}{{end}}{{template "T" .Name}}{{template "T"}}
{{printf "%5d|%-5s|%05d|%x|%X|%q|%v|%+v|%T|%t|%c|%U|%e|%08.3f|%%|%d" 3 "ab" 42 255 "hi" "q" .Args .HostConfig.LogConfig .Name true 65 65 1.5 3.14159 "s"}}
{{printf "%d"}}
{{printf "%d" 1 2}}
{{printf "%z" 1}}
{{printf "%+d % d %o %b %#x %6.2f|%-8q|%g|%s|%v" 5 5 8 5 255 3.14159 "a" 1e21 true nil}}
{{printf "%*d|%.2s|%s|%d" 5 42 "abc" .Args .Args}}
{{printf "%"}}
{{printf 1}}
{{eq 1 1.0}}
{{eq .Name "/clitmpl" "x"}} {{ne 1 2}} {{lt 1 2}} {{le "a" "b"}} {{gt 1.5 1.0}} {{ge 2 2}}
{{lt 1 "a"}}
{{lt true false}}
{{eq .Args .Args}}
{{if and (eq .Name "/clitmpl") (gt .HostConfig.ShmSize 1)}}yes{{else if true}}no{{end}}
{{if .State.Running}}up{{else if eq .State.Status "created"}}new{{else}}down{{end}}
{{if .State.Running}}{{else}}{{else}}{{end}}
{{json "a<b>&"}} {{json nil}} {{json 1.0}} {{json .Args}} {{json true}}
{{json .HostConfig.PortBindings}}
{{json .State}}
{{.Config.Labels | json}}
{{with $x := 5}}{{$x}}{{end}}{{$x}}
{{else}}
{{if true}}
{{"a" "b"}}
{{true}} {{false}}
{{.Name}
{{end
{{'ab'}}
{{.HostConfig.ShmSize}} {{printf "%.1f" 2}}
{{.Name | len | printf "%d"}}
{{index .Config.Labels "b.c" | upper}}
{{call .Name}}
{{ .Name}}{{"\n"}}{{`raw\n`}}
{{lower nil}}
{{join .Name ","}}
{{split .Name}}
{{title "hELLO wORLD-foo"}}
{{truncate "abc" 10}} {{pad "日" 1 1}}|
a{{- " b " -}} c
{{-3}} {{- 3}}
{{break}}
{{1 | 2}}
{{.HostConfig.RestartPolicy}} {{.HostConfig.Ulimits}} {{.HostConfig.MemorySwappiness}} {{.HostConfig.OomKillDisable}}
{{.HostConfig.Binds}} {{.Config.Volumes}}
{{template "nope"}}
{{continue}}
{{.Config.Tty | not}}
{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}
{{range .Config.Labels}}{{.}};{{end}}
{{range "abc"}}{{.}}{{end}}
{{range .Name}}{{.}}{{end}}
{{len .Config.Labels}} {{len .Name}}
{{a b}}
{{"x" | nofn}}
{{.A.B.C}}
{{not}}
{{eq 1}}
{{index .Config.Labels 1}}
{{@}}
{{.Name,}}
{{(.Name}}
{{.Name)}}
{{$x := }}
{{print nil}}
{{print .State.Health}}
{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}
{{range $i, $e := .Config.Env}}{{$i}}={{$e}} {{end}}{{$.Name}}
{{range .Config.Env}}{{$p := split . "="}}{{index $p 0}}:{{index $p 1}};{{end}}
{{range $x, $y, $z := .Args}}{{end}}
{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}
{{$x := 1}}{{if true}}{{$x := 2}}{{end}}{{$x}}
{{"a\tb\"c\u00e9\x41"}}
{{"bad\q"}}
{{.HostConfig.NetworkMode}} {{.Path}}
{{len (printf "%s" .Name)}}
{{if not .State.Running}}stopped{{end}}
{{if or .State.Running .State.Paused}}live{{else}}dead{{end}}
{{.Config.Image}}@{{slice .Id 0 12}}
{{define "x"}}
{{template "x" .}
{{ if true -}}  spaced  {{- end }}.
{{with .Config}}{{$.Name}}{{end}}
{{range .Args}}{{.}}{{else}}{{end}}{{end}}
{{print "a" "b"}} {{print 1 2}} {{print true "x" false}}
{{index nil 0}}
{{index .Args 0 0}}
{{html .Name}}{{js .Name}}
{{lower "ABC" | title}}
{{range $e := 2}}{{$e}}{{end}}
{{not (eq .Name "x")}}
{{ge 1 2}} {{gt 2 1}} {{le 1 1}} {{ne "a" "a"}}
{{.Name}}{{/* a comment */}}{{.Path}}
""".strip().splitlines()  # noqa: E501
# one template a line


def record(docker: Sequence[str]) -> dict[str, Any]:
    """Return a container's inspect document, and for every template what the real Docker prints and complains."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*docker, *arguments], capture_output=True, text=True, timeout=60, check=False)

    name = f"clitmpl{os.getpid()}"
    run("rm", "-f", name)
    options = ["--label", "a=1", "--label", "b.c=two", "-p", "8080:80", "--network", "none", "-e", "FOO=bar"]
    made = run("create", "--name", name, *options, "-e", "X=a b", "busybox", "sh", "-c", "echo hi")
    try:
        document = json.loads(run("inspect", name).stdout)[0]
        del document["GraphDriver"]  # nothing but paths of that machine
        cases = []
        for template in TEMPLATES:
            done = run("inspect", "-f", template, name)
            cases.append([template, done.stdout.removesuffix("\n"), done.stderr.strip()])
        return {"document": document, "cases": cases}
    finally:
        run("rm", made.stdout.strip())


if __name__ == "__main__":
    json.dump(record(sys.argv[1:]), sys.stdout, indent=1, ensure_ascii=False)
    print()

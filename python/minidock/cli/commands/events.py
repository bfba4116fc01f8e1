"""``events``: what happens, a line each."""

from __future__ import annotations

from minidock.cli.flags import Command, Flag
from minidock.cli.output import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.cli.flags import Values
    from minidock.cli.session import Session
    from minidock.events.event import Event


def _events(session: Session, values: Values, arguments: list[str]) -> int:
    """Print events until the time that ``--until`` names, or until somebody interrupts."""
    show = _form(values["format"])
    with session.engine.events(
        since=values["since"] or None,
        until=values["until"] or None,
        filters=[f"{name}={value}" for name, value in values["filter"]],
        follow=True,
    ) as events:
        while True:
            try:
                batch = events.batch()
            except StopIteration:
                return 0
            write("".join(show(event) + "\n" for event in batch))


def _form(form: str | None) -> Callable[[Event], str]:
    """How one event is shown. Raises TemplateError."""
    if not form:
        return plain
    if form == "json":
        import msgspec

        encode = msgspec.json.Encoder().encode
        return lambda event: encode(event.message()).decode()
    from minidock.cli.gotemplate import TemplateError, parse

    try:
        template = parse(form)
    except TemplateError as error:
        raise TemplateError(f"template parsing error: {error}") from None

    def show(event: Event) -> str:
        try:
            return template.render(_Message(event))
        except TemplateError as error:
            raise TemplateError(f"template parsing error: {error}") from None

    return show


def plain(event: Event) -> str:
    """``2026-01-31T15:04:05.000000000Z container start ID (image=busybox, name=web)``, in local time."""
    import time

    local = time.localtime(event.time_ns // 1_000_000_000)
    zone = time.strftime("%z", local)
    zone = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{event.time_ns % 1_000_000_000:09d}{zone}"
    line = f"{moment} {event.type} {event.action} {event.id}"
    if event.attributes:
        line += " (" + ", ".join(f"{name}={value}" for name, value in sorted(event.attributes.items())) + ")"
    return line


class _Message:
    """What a template runs on."""

    template_type = "*events.Message"

    def __init__(self, event: Event) -> None:
        from minidock.cli.gotemplate import Struct

        message = event.message()
        self._message = message
        self._fields = {
            "Status": message.status or "",
            "ID": message.id or "",
            "From": message.from_ or "",
            "Type": message.type,
            "Action": message.action,
            "Actor": Struct({"ID": message.actor.id, "Attributes": message.actor.attributes}),
            "Scope": message.scope,
            "Time": message.time,
            "TimeNano": message.time_nano,
        }

    def template_field(self, name: str) -> object:
        return self._fields[name]

    def template_json(self) -> object:
        import msgspec

        from minidock.cli.gotemplate import Struct

        fields = Struct(msgspec.to_builtins(self._message))
        fields["Actor"] = self._fields["Actor"]
        return fields


EVENTS = Command(
    "[OPTIONS]",
    "Show what happens to containers and images, as it happens. With --since, begin with what has happened.",
    [
        Flag("filter", "filter", "Show only what fits, such as type=container, event=die, label=a=b", short="f"),
        Flag("format", "string", "'json', or a Go template"),
        Flag("since", "string", "Begin with what happened at this time, or so long ago"),
        Flag("until", "string", "Stop at this time, or what happened so long ago"),
    ],
    _events,
    maximum=0,
)

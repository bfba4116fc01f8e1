"""``network create``."""

from __future__ import annotations

from minidock.cli.flags import Command, Flag
from minidock.cli.output import line
from minidock.cli.words import label_pairs, pairs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _create(session: Session, values: Values, arguments: list[str]) -> int:
    """Make a network and print its id."""
    from minidock.networks import wanted
    from minidock.networks.planning import Request

    labels = label_pairs(values["label"])
    subnets = wanted.from_flags(
        _split(values["subnet"]), _split(values["gateway"]), _split(values["ip-range"]), pairs(values["aux-address"])
    )
    request = Request(
        name=arguments[0],
        driver=values["driver"],
        options=pairs(values["opt"]),
        ipam_driver=values["ipam-driver"],
        ipam_options=pairs(values["ipam-opt"]),
        subnets=subnets,
        internal=values["internal"],
        attachable=values["attachable"],
        ingress=values["ingress"],
        scope=values["scope"] or "",
        enable_ipv4=values.given.get("ipv4"),
        enable_ipv6=values.given.get("ipv6"),
        labels=labels,
        config_only=values["config-only"],
        config_from=values["config-from"] or "",
    )
    network = session.engine.networks.create_from(request)
    for warning in network.warnings:
        session.warn(warning)
    line(network.id)
    return 0


def _split(texts: list[str]) -> list[str]:
    """Values that may also be given together, with commas between them."""
    return [part for text in texts for part in text.split(",")]


CREATE = Command(
    "[OPTIONS] NETWORK",
    "Create a network and print its id.",
    [
        Flag("attachable", "bool", "Say so in its description (every network can be attached to here)"),
        Flag("aux-address", "map", "An address that no container gets, NAME=ADDRESS"),
        Flag("config-from", "string", "Take the configuration of this network"),
        Flag("config-only", "bool", "Make only a configuration, for others to take"),
        Flag("driver", "string", "bridge, macvlan or ipvlan", short="d", default="bridge"),
        Flag("gateway", "list", "Gateway of a subnet"),
        Flag("ingress", "bool", "For a swarm's routing mesh, which is not here"),
        Flag("internal", "bool", "No way out of the network, and none in"),
        Flag("ip-range", "list", "The part of a subnet that containers get addresses of"),
        Flag("ipam-driver", "string", "Who gives out addresses", default="default"),
        Flag("ipam-opt", "map", "Options of that, kept in its description"),
        Flag("ipv4", "bool", "Give containers IPv4 addresses", default=True),
        Flag("ipv6", "bool", "Give containers IPv6 addresses"),
        Flag("label", "list", "A label, NAME=VALUE"),
        Flag("opt", "map", "An option of the driver, NAME=VALUE", short="o"),
        Flag("scope", "string", "local, which is the only one here"),
        Flag("subnet", "list", "A subnet, ADDRESS/LENGTH"),
    ],
    _create,
    minimum=1,
    maximum=1,
)

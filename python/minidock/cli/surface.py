"""The one table of commands: what minidock has, what it will never have and why.

Names are Docker's, without the program's name. A name in ``NEVER`` stands for everything below it. Flags that are not
there are declared beside the others of their command, with a :class:`Reason` from here.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Command


class Reason:
    """Why something of Docker's surface is not here."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def sentence(self, what: str) -> str:
        """The error for someone who used ``what``."""
        return f"{what} is not part of minidock: {self.text}"


NO_SWARM = Reason("it runs containers of one host; there is no cluster of nodes")
NO_DAEMON = Reason("there is no daemon to connect to; every command is the engine itself")
NO_PLUGINS = Reason("storage, network and log drivers are built in")
NO_TRUST = Reason("Docker Content Trust (Notary v1) is retired by Docker itself; pull by digest instead")
NO_ENTITLEMENTS = Reason("no step of a build has more privileges than a container")
NO_ATTESTATIONS = Reason("its builds make no attestations, and nor do those of Docker's own driver")
NO_CHECKPOINT = Reason("checkpoints need CRIU, and minidock runs no other program")
NO_COMPOSE = Reason("compose is a program of its own; the real one works over `minidock serve`")
NO_BAKE = Reason("bake is a front end of buildx, a program of its own")
WINDOWS = Reason("it exists on Windows only")
NO_API_SOCKET = Reason("no container ever gets the engine's socket by a flag; bind it yourself to hand over the host")

GROUPS = {
    "builder": "Manage the build cache",
    "buildx": "The same under buildx's names",
    "container": "Manage containers",
    "image": "Manage images",
    "manifest": "Manage manifest lists",
    "network": "Manage networks",
    "system": "Look at the engine as a whole",
    "volume": "Manage volumes",
}

# name: (module below minidock.cli.commands, attribute, one line of help)
IMPLEMENTED = {
    "container run": ("run", "RUN", "Create a container from an image and start it"),
    "container create": ("run", "CREATE", "Create a container without starting it"),
    "container start": ("start", "START", "Start stopped containers"),
    "container ls": ("ps", "LIST", "List containers"),
    "container exec": ("exec", "EXEC", "Run a command in a running container"),
    "container attach": ("attach", "ATTACH", "Connect to a running container's streams"),
    "container logs": ("logs", "LOGS", "Show what a container has written"),
    "container kill": ("kill", "KILL", "Send a signal to running containers"),
    "container pause": ("pause", "PAUSE", "Freeze all processes of containers"),
    "container rename": ("rename", "RENAME", "Give a container another name"),
    "container restart": ("stop", "RESTART", "Stop containers and start them again"),
    "container stop": ("stop", "STOP", "Stop running containers"),
    "container unpause": ("pause", "UNPAUSE", "Let paused containers run again"),
    "container update": ("update", "UPDATE", "Change limits and the restart policy of containers"),
    "container wait": ("wait", "WAIT", "Wait until containers stop, and print their exit codes"),
    "container rm": ("remove", "REMOVE", "Remove containers"),
    "container prune": ("remove", "PRUNE", "Remove all stopped containers"),
    "container commit": ("commit", "COMMIT", "Make an image from a container's changes"),
    "container cp": ("cp", "CP", "Copy files between a container and this host"),
    "container diff": ("diff", "DIFF", "Show what a container has changed of its image's files"),
    "container export": ("archives", "EXPORT", "Write a container's files to an archive"),
    "container inspect": ("inspect", "CONTAINER", "Show all details of containers"),
    "container port": ("port", "PORT", "Show where a container's ports are published"),
    "container stats": ("stats", "STATS", "Show what containers use, live"),
    "container top": ("top", "TOP", "Show the processes of a container"),
    "image ls": ("images", "LIST", "List images"),
    "image rm": ("images", "REMOVE", "Remove images"),
    "image tag": ("images", "TAG", "Give an image another name"),
    "image history": ("images", "HISTORY", "Show how an image's layers came about"),
    "image prune": ("images", "PRUNE", "Remove images that nothing uses"),
    "image build": ("build", "BUILD_COMMAND", "Build an image from a Dockerfile"),
    "builder prune": ("builder", "PRUNE", "Remove what the build cache holds"),
    "builder du": ("builder", "DU", "Show what the build cache holds"),
    "image pull": ("transfer", "PULL", "Download an image from a registry"),
    "image push": ("transfer", "PUSH", "Upload an image to a registry"),
    "image import": ("imports", "IMPORT", "Make an image from a root filesystem archive"),
    "image from-packages": ("make", "FROM_PACKAGES", "Make a base image from a distribution's packages"),
    "image from-rootfs": ("make", "FROM_ROOTFS", "Make an image from a directory of this host"),
    "image save": ("archives", "SAVE", "Write images to an archive"),
    "image load": ("archives", "LOAD", "Load images from an archive"),
    "image mount": ("mount", "MOUNT", "Show an image's files in a directory of the host"),
    "image unmount": ("mount", "UNMOUNT", "Take away what `image mount` has mounted"),
    "image inspect": ("inspect", "IMAGE", "Show all details of images"),
    "inspect": ("inspect", "ANY", "Show all details of containers, images, networks or volumes"),
    "network create": ("network_create", "CREATE", "Create a network"),
    "network ls": ("network_list", "LIST", "List networks"),
    "network inspect": ("inspect", "NETWORK", "Show all details of networks"),
    "network rm": ("network_remove", "REMOVE", "Remove networks"),
    "network prune": ("network_remove", "PRUNE", "Remove all networks that no container is on"),
    "network repair": ("network_remove", "REPAIR", "Make addresses, bridges and the firewall agree again"),
    "network connect": ("network_connect", "CONNECT", "Connect a container to a network"),
    "network disconnect": ("network_connect", "DISCONNECT", "Take a container off a network"),
    "system info": ("system", "INFO", "Show the engine's and the host's abilities and settings"),
    "login": ("login", "LOGIN", "Log in to a registry"),
    "logout": ("login", "LOGOUT", "Log out from a registry"),
    "system events": ("events", "EVENTS", "Show what happens to containers and images"),
    "system restore": ("restore", "RESTORE", "Start the containers that are to run, after a boot"),
    "system stop": ("restore", "STOP", "Stop all containers, before a shutdown"),
    "system install": ("install", "INSTALL", "Write systemd's units for the server and for restarts after a boot"),
    "system uninstall": ("install", "UNINSTALL", "Remove the units that `system install` has written"),
    "system df": ("df", "DF", "Show how much of the disk images, containers and volumes take up"),
    "system prune": ("system_prune", "PRUNE", "Remove what nothing uses"),
    "volume create": ("volume_create", "CREATE", "Create a volume"),
    "volume ls": ("volume_list", "LIST", "List volumes"),
    "volume inspect": ("inspect", "VOLUME", "Show all details of volumes"),
    "volume rm": ("volume_remove", "REMOVE", "Remove volumes"),
    "volume prune": ("volume_remove", "PRUNE", "Remove volumes that no container has"),
    "volume export": ("volume_archives", "EXPORT", "Write a volume's files to an archive"),
    "volume import": ("volume_archives", "IMPORT", "Unpack an archive into a volume"),
    "volume clone": ("volume_create", "CLONE", "Copy a volume"),
    "manifest inspect": ("manifest", "INSPECT", "Show an image's manifest or a manifest list"),
    "manifest create": ("manifest", "CREATE", "Begin a manifest list of images that a registry has"),
    "manifest annotate": ("manifest", "ANNOTATE", "Say what an image of a manifest list is for"),
    "manifest push": ("manifest", "PUSH", "Push a manifest list to a registry"),
    "manifest rm": ("manifest", "REMOVE", "Forget manifest lists"),
    "serve": ("serve", "SERVE", "Answer Docker's Engine API on a Unix socket"),
    "ui": ("ui", "UI", "Show containers, images, networks and volumes in the browser"),
    "search": ("search", "SEARCH", "Search a registry for images"),
    "doctor": ("doctor", "DOCTOR", "Try what this host can do, and say how to repair what it cannot"),
    "version": ("system", "VERSION", "Show versions"),
    "completion": ("completion", "COMPLETION", "Print the shell's completion script"),
}

ALIASES = {
    "run": "container run",
    "exec": "container exec",
    "create": "container create",
    "start": "container start",
    "attach": "container attach",
    "kill": "container kill",
    "logs": "container logs",
    "pause": "container pause",
    "rename": "container rename",
    "restart": "container restart",
    "stop": "container stop",
    "unpause": "container unpause",
    "update": "container update",
    "wait": "container wait",
    "port": "container port",
    "stats": "container stats",
    "top": "container top",
    "ps": "container ls",
    "container list": "container ls",
    "container ps": "container ls",
    "rm": "container rm",
    "container remove": "container rm",
    "images": "image ls",
    "image list": "image ls",
    "rmi": "image rm",
    "image remove": "image rm",
    "import": "image import",
    "commit": "container commit",
    "cp": "container cp",
    "diff": "container diff",
    "image umount": "image unmount",
    "export": "container export",
    "save": "image save",
    "load": "image load",
    "build": "image build",
    "builder build": "image build",
    "buildx build": "image build",
    "buildx b": "image build",
    "buildx prune": "builder prune",
    "buildx du": "builder du",
    "pull": "image pull",
    "push": "image push",
    "tag": "image tag",
    "network list": "network ls",
    "network remove": "network rm",
    "volume list": "volume ls",
    "volume remove": "volume rm",
    "history": "image history",
    "info": "system info",
    "events": "system events",
}

_NO_BUILDERS = Reason("it builds in the engine itself; there are no other builders")
NEVER: dict[str, Reason] = {
    **{
        f"{group} {name}": _NO_BUILDERS
        for group in ("builder", "buildx")
        for name in ("create", "dial-stdio", "history", "imagetools", "inspect", "ls", "rm", "stop", "use", "version")
    },
    "builder bake": NO_BAKE,
    "buildx bake": NO_BAKE,
    "swarm": NO_SWARM,
    "service": NO_SWARM,
    "node": NO_SWARM,
    "stack": NO_SWARM,
    "secret": NO_SWARM,
    "config": NO_SWARM,
    "context": NO_DAEMON,
    "plugin": NO_PLUGINS,
    "trust": NO_TRUST,
    "checkpoint": NO_CHECKPOINT,
    "compose": NO_COMPOSE,
    "bake": NO_BAKE,
}


def canonical(name: str) -> str:
    """The management form of a command's name: ``ps`` → ``container ls``."""
    return ALIASES.get(name, name)


def reason_for(name: str) -> Reason | None:
    """Why the command ``name`` or a group above it is not here; None if the tables do not say so."""
    words = name.split()
    for count in range(len(words), 0, -1):
        reason = NEVER.get(" ".join(words[:count]))
        if reason is not None:
            return reason
    return None


def load(name: str) -> Command:
    """Import and return the command with the canonical ``name``."""
    import importlib

    module, attribute, _ = IMPLEMENTED[name]
    command: Command = getattr(importlib.import_module(f"minidock.cli.commands.{module}"), attribute)
    return command


def children(group: str) -> dict[str, str]:
    """The implemented commands directly below ``group`` ("" is the top), with their one line of help."""
    found: dict[str, str] = {}
    prefix = f"{group} " if group else ""
    for name in (*GROUPS, *IMPLEMENTED, *ALIASES):
        rest = name.removeprefix(prefix)
        if " " in rest or (group and rest == name):
            continue
        if name in ALIASES and group:
            continue  # spelt only one way in the help of its group
        found[rest] = GROUPS[name] if name in GROUPS else IMPLEMENTED[canonical(name)][2]
    return found

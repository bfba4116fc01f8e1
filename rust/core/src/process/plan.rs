//! What a start needs: opened and planned by the parent.
use std::os::fd::OwnedFd;

use oci_spec::runtime::Spec;

use super::credentials::Identity;
use super::program::Program;
use super::{LaunchRequest, Seccomp, Stdio, UserNames, hooks, limits};
use crate::error::{Error, Kind, Result};
use crate::namespace;
use crate::path::Root;
use crate::rootfs::{self, Prepared};
use crate::security::capabilities::{self, Sets};

/// All that the child needs; made by the parent, whose memory the child has a copy of.
pub(super) struct Plan<'a> {
    pub spec: &'a oci_spec::runtime::Spec,
    pub process: &'a oci_spec::runtime::Process,
    pub namespaces: namespace::Plan,
    /// `None` when the mount namespace is joined.
    pub rootfs: Option<Prepared>,
    /// A running container whose namespaces are entered all at once: a descriptor of its PID 1 and `CLONE_NEW*` flags.
    pub container: Option<(OwnedFd, i32)>,
    pub program: Program,
    pub identity: Identity,
    pub capabilities: Sets,
    pub sysctls: Vec<(String, String)>,
    pub seccomp: Option<Seccomp>,
    pub tasks: &'a [OwnedFd],
    /// The descriptors 0 to 2; `None` keeps those of the caller.
    pub stdio: Option<[OwnedFd; 3]>,
    pub terminal: bool,
    /// The fifo of a held container, `O_PATH`.
    pub hold: Option<OwnedFd>,
    pub hooks: hooks::Plan,
    /// Whether the child says `Ready` and waits for `Go`.
    pub handshake: bool,
    pub init: bool,
    pub die_with_parent: bool,
    pub preserve_fds: u32,
}

/// Opens and plans all that PID 1 of a container needs.
pub(super) fn plan<'a>(
    request: &mut LaunchRequest<'a>,
    hold: Option<OwnedFd>,
    warnings: &mut Vec<String>,
) -> Result<Plan<'a>> {
    let spec = request.spec;
    let process = spec.process().as_ref().ok_or_else(|| {
        Error::new(
            Kind::Invalid,
            "start container",
            request.id,
            "the document has no process",
        )
    })?;
    if spec
        .linux()
        .as_ref()
        .is_some_and(|l| l.intel_rdt().is_some())
    {
        return Err(Error::new(
            Kind::Unsupported,
            "start container",
            request.id,
            "intelRdt is not supported; remove it from the document",
        ));
    }
    if spec
        .linux()
        .as_ref()
        .is_some_and(|l| l.net_devices().as_ref().is_some_and(|d| !d.is_empty()))
    {
        return Err(Error::new(
            Kind::Unsupported,
            "start container",
            request.id,
            "netDevices is not supported; remove it from the document",
        ));
    }
    let namespaces = namespace::plan(spec)?;
    let mut program = Program::new(
        process.args().as_deref().unwrap_or_default(),
        process.env().as_deref().unwrap_or_default(),
    )?;
    let sysctls = plan_sysctls(spec, &namespaces)?;
    let prepared = if namespaces.is_new(libc::CLONE_NEWNS) {
        Some(rootfs::prepare(
            spec,
            &request.bundle,
            &request.rootfs,
            &request.sources,
            &namespaces,
            warnings,
        )?)
    } else if namespaces.joined(libc::CLONE_NEWNS).is_some() {
        None
    } else {
        return Err(Error::new(
            Kind::Invalid,
            "start container",
            request.id,
            "it needs a mount namespace: pivot_root would change the host's root",
        ));
    };
    let root = prepared.as_ref().map(rootfs::Prepared::root);
    let identity = identify(
        root.as_ref(),
        process.user(),
        request.user.as_ref(),
        &mut program,
    )?;
    let in_container = hooks::Plan {
        create_container: hooks::of(spec, hooks::When::CreateContainer),
        start_container: hooks::of(spec, hooks::When::StartContainer),
        state: spec
            .hooks()
            .as_ref()
            .map(|_| hooks::State::new(spec, request.id, &request.bundle, "creating", None)),
    };
    let has_runtime_hooks = !hooks::of(spec, hooks::When::CreateRuntime).is_empty();
    let capabilities =
        plan_capabilities(process, namespaces.is_own(libc::CLONE_NEWUSER), warnings)?;
    Ok(Plan {
        spec,
        process,
        handshake: namespaces.is_new(libc::CLONE_NEWUSER)
            || has_runtime_hooks
            || request.on_namespaces.is_some(),
        namespaces,
        rootfs: prepared,
        container: None,
        program,
        identity,
        capabilities,
        sysctls,
        seccomp: request.seccomp.take(),
        tasks: request.cgroup.tasks,
        stdio: match std::mem::replace(&mut request.stdio, Stdio::Inherit) {
            Stdio::Inherit => None,
            Stdio::Fds(fds) => Some(fds),
        },
        terminal: process.terminal().unwrap_or(false),
        hold,
        hooks: in_container,
        init: request.init,
        die_with_parent: request.die_with_parent,
        preserve_fds: request.preserve_fds,
    })
}

/// The document's sets, without what the caller itself lacks: with a warning, as the runtime-spec wants it.
pub(super) fn plan_capabilities(
    process: &oci_spec::runtime::Process,
    in_user_namespace: bool,
    warnings: &mut Vec<String>,
) -> Result<Sets> {
    let wanted = Sets::from_oci(process.capabilities().as_ref());
    // The first process of a user namespace has them all.
    if in_user_namespace {
        return Ok(wanted);
    }
    let (granted, missing) = wanted.limited_to(&capabilities::current()?);
    if !missing.is_empty() {
        warnings.push(format!(
            "capabilities that this host does not grant: {missing}"
        ));
    }
    Ok(granted)
}

fn plan_sysctls(spec: &Spec, namespaces: &namespace::Plan) -> Result<Vec<(String, String)>> {
    let own = |flag| namespaces.is_own(flag);
    let list = spec.linux().as_ref().and_then(|l| l.sysctl().as_ref());
    let mut all: Vec<(String, String)> = list
        .into_iter()
        .flatten()
        .map(|(name, value)| Ok((limits::check_sysctl(name, value, &own)?, value.clone())))
        .collect::<Result<_>>()?;
    all.sort();
    Ok(all)
}

/// The numbers of a user, and `HOME` where the environment lacks it.
pub(super) fn identify(
    root: Option<&Root<'_>>,
    user: &oci_spec::runtime::User,
    names: Option<&UserNames>,
    program: &mut Program,
) -> Result<Identity> {
    let (identity, home) = match (names, root) {
        (Some(names), Some(root)) => {
            let u = rootfs::resolve_user(root, &names.user, &names.group_add)?;
            (
                Identity {
                    uid: u.uid,
                    gid: u.gid,
                    groups: u.groups,
                },
                u.home,
            )
        }
        (Some(names), None) => {
            return Err(Error::new(
                Kind::Unsupported,
                "find user",
                names.user.as_str(),
                "names need a root filesystem of the container's own",
            ));
        }
        (None, _) => {
            let groups = user.additional_gids().clone().unwrap_or_default();
            (
                Identity {
                    uid: user.uid(),
                    gid: user.gid(),
                    groups,
                },
                None,
            )
        }
    };
    if !program.has_variable("HOME") {
        let home = home.or_else(|| root.and_then(|r| rootfs::home(r, identity.uid)));
        program.default_variable("HOME", home.as_deref().unwrap_or(b"/"));
    }
    Ok(identity)
}

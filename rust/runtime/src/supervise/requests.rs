//! What clients ask for, carried out.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use minidock_core::supervisor::Keys;
use rustix::termios::{Winsize, tcsetwinsize};

use super::clients::StreamName;
use super::control::{self, Request};
use super::health::OnFailure;
use super::streams::Input;
use super::watch::{Watch, now_ms};

/// Why a network cannot be connected.
const NO_NETWORK: &str = "the container has the network of the host, or of another container";

impl Watch {
    /// Carries out a request of a client and answers it.
    pub(super) fn serve(&mut self, at: usize, request: Request, fds: &[OwnedFd]) {
        let answer = self.carry_out(at, request, fds);
        let Some(client) = self.clients.get(at) else {
            return;
        };
        if !client.first {
            match answer {
                Ok(()) => client.tell(control::DONE),
                Err(why) => client.tell(&control::refused(&why)),
            }
        }
    }

    fn carry_out(&mut self, at: usize, request: Request, fds: &[OwnedFd]) -> Result<(), String> {
        match request {
            Request::Ping => {}
            Request::Hold { unless } => {
                if self.run.is_none() {
                    return Err("the container is not running".to_owned());
                }
                if let Some(client) = self.clients.get(at) {
                    client.holds = Some(unless);
                }
            }
            Request::Signal { signal } => {
                let stops =
                    !self.stop_signal_chosen || [self.stop_signal, libc::SIGKILL].contains(&signal);
                if stops {
                    self.restarts.cancel();
                }
                if self.run.is_none() {
                    // Between two runs it is enough that no other follows.
                    self.stopped |= stops;
                    return Ok(());
                }
                self.events.add("kill", &[("signal", signal.to_string())]);
                self.signal(signal);
            }
            Request::Stop { signal, timeout_ms } => self.stop(
                signal.unwrap_or(self.stop_signal),
                timeout_ms.unwrap_or(self.stop_timeout_ms),
            ),
            Request::Resize { rows, cols } => {
                let Some(console) = self.run.as_ref().and_then(|r| r.launched.console.as_ref())
                else {
                    return Err("the container has no terminal, or is not running".to_owned());
                };
                let size = Winsize {
                    ws_row: rows,
                    ws_col: cols,
                    ws_xpixel: 0,
                    ws_ypixel: 0,
                };
                let _ = tcsetwinsize(console, size);
            }
            Request::CloseStdin => {
                // A terminal's input ends by its end-of-file character; a pipe's by closing.
                let console = self.run.as_ref().and_then(|r| r.launched.console.as_ref());
                if let Some(console) = console {
                    let _ = rustix::io::write(console, &[4]);
                } else {
                    self.with_input(Input::end);
                }
            }
            Request::Attach {
                streams,
                detach_keys,
            } => return self.attach(at, &streams, fds, detach_keys.as_deref()),
            Request::Connect {
                endpoint,
                ports,
                dns,
            } => {
                let network = self.network.as_mut();
                let network = network.ok_or_else(|| NO_NETWORK.to_owned())?;
                let done = network.connect(*endpoint, &ports, dns);
                return done.map_err(|e| e.to_string());
            }
            Request::Disconnect { network: id } => {
                let network = self.network.as_mut();
                let network = network.ok_or_else(|| NO_NETWORK.to_owned())?;
                return network.disconnect(&id).map_err(|e| e.to_string());
            }
            Request::Route {
                network: id,
                gateways,
                ports,
            } => {
                let network = self.network.as_mut();
                let network = network.ok_or_else(|| NO_NETWORK.to_owned())?;
                let done = network.route(&id, gateways, &ports);
                return done.map_err(|e| e.to_string());
            }
            Request::Update {
                restart,
                name,
                names,
            } => {
                if let Some(policy) = restart {
                    self.restarts.set_policy(policy);
                    self.stopped |= self.run.is_none() && policy.is_none();
                }
                if let Some(name) = name {
                    self.events.rename(name);
                }
                if let (Some(network), Some(names)) = (&mut self.network, names) {
                    return network.rename(&names).map_err(|e| e.to_string());
                }
            }
        }
        Ok(())
    }

    fn attach(
        &mut self,
        at: usize,
        streams: &[StreamName],
        fds: &[OwnedFd],
        keys: Option<&str>,
    ) -> Result<(), String> {
        let Some(run) = &self.run else {
            return Err("the container is not running".to_owned());
        };
        if streams.len() != fds.len() {
            return Err("as many descriptors as names are needed".to_owned());
        }
        let keys = keys
            .map(Keys::parse)
            .transpose()
            .map_err(|_| "the detach keys make no sense".to_owned())?;
        let input = run.input.is_some();
        let Some(client) = self.clients.get(at) else {
            return Ok(());
        };
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        client.attach(streams, &fds, keys);
        if !input {
            client.source = None;
        }
        Ok(())
    }

    /// What is done about a container that has got unhealthy.
    pub(super) fn act(&mut self, action: OnFailure) {
        match action {
            OnFailure::None => {}
            OnFailure::Kill => self.signal(libc::SIGKILL),
            OnFailure::Stop => self.stop(self.stop_signal, self.stop_timeout_ms),
            OnFailure::Restart => {
                self.restarts.force();
                self.ask_to_end(self.stop_signal, self.stop_timeout_ms);
            }
        }
    }

    /// Asks it to end, for good.
    pub(super) fn stop(&mut self, signal: i32, timeout_ms: u64) {
        self.stopped = true;
        self.restarts.cancel();
        self.ask_to_end(signal, timeout_ms);
    }

    /// A signal, and SIGKILL later.
    fn ask_to_end(&mut self, signal: i32, timeout_ms: u64) {
        let Some(run) = &mut self.run else { return };
        let at = now_ms().saturating_add(timeout_ms);
        run.kill_at = match run.kill_at {
            // Nothing comes after this one.
            _ if signal == libc::SIGKILL => None,
            Some(earlier) => Some(earlier.min(at)),
            None => Some(at),
        };
        self.events.add("kill", &[("signal", signal.to_string())]);
        self.signal(signal);
        if let Some(group) = self.run.as_ref().and_then(|run| run.group.as_ref())
            && group.is_frozen()
        {
            let _ = group.thaw();
        }
    }
}

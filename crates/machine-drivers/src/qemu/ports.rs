//! Ports of this computer for machines.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use machine_core::{DriverError, ErrorKind};

use super::publish::Publish;
use super::state::QemuState;

/// Whether a port of 127.0.0.1 is free now.
pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Whether a port that is to be published is free now. An address that this computer doesn't have counts as taken.
pub(super) fn can_publish(publish: &Publish) -> bool {
    let address = (publish.host, publish.host_port);
    if publish.udp { UdpSocket::bind(address).is_ok() } else { TcpListener::bind(address).is_ok() }
}

/// Gives the machine ports that are free: those that it wishes for, else those that it had, else any. Nothing holds them until QEMU does:
/// who starts QEMU must be ready to ask again, with what was refused.
///
/// # Errors
/// Where the system gives none.
pub(super) fn choose(state: &mut QemuState, refused: &[u16]) -> Result<(), DriverError> {
    let mut taken: Vec<u16> =
        Publish::all(state)?.iter().filter(|one| !one.udp).map(|one| one.host_port).collect();
    taken.extend(refused);
    let mut pick = |wanted: u16, had: u16| -> Result<u16, DriverError> {
        let known =
            [wanted, had].into_iter().find(|port| *port != 0 && !taken.contains(port) && is_free(*port));
        let port = match known {
            Some(port) => port,
            None => any(&taken)?,
        };
        taken.push(port);
        Ok(port)
    };
    state.base.ssh_port = pick(state.ssh_port_wanted, state.base.ssh_port)?;
    state.engine_port = pick(state.engine_port_wanted, state.engine_port)?;
    if !super::platform::HAS_SOCKET_FILES {
        for port in &mut state.monitor_ports {
            *port = pick(0, *port)?;
        }
    }
    Ok(())
}

/// Any free port but these.
fn any(not: &[u16]) -> Result<u16, DriverError> {
    // Held until the choice is made: else the system may give the same again.
    let mut held = Vec::new();
    for _ in 0..100 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(none)?;
        let port = listener.local_addr().map_err(none)?.port();
        if !not.contains(&port) {
            return Ok(port);
        }
        held.push(listener);
    }
    Err(none(std::io::ErrorKind::AddrInUse.into()))
}

fn none(error: std::io::Error) -> DriverError {
    DriverError::new(ErrorKind::Other, format!("this computer has no free port on 127.0.0.1: {error}"))
        .with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_wished_for_kept_or_new() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken_port = taken.local_addr().unwrap().port();
        let mut state = QemuState { engine_port_wanted: taken_port, ..QemuState::default() };
        choose(&mut state, &[]).unwrap();
        let first = (state.base.ssh_port, state.engine_port);
        assert!(first.0 != 0 && first.1 != 0 && first.0 != first.1 && first.1 != taken_port);
        choose(&mut state, &[]).unwrap();
        assert_eq!((state.base.ssh_port, state.engine_port), first);
        choose(&mut state, &[first.0]).unwrap();
        assert_ne!(state.base.ssh_port, first.0);
        assert_eq!(state.engine_port, first.1);
        drop(taken);
        choose(&mut state, &[]).unwrap();
        // Somebody else may have got it in the meantime.
        assert!(state.engine_port == taken_port || !is_free(taken_port));
    }
}

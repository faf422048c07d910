// SPDX-License-Identifier: GPL-2.0
//! Carries out what a guest asks for on its request port, by QEMU's monitor (QMP).
//!
//! One request a line, one answer a line, "ok" or "error ...":
//!
//! - `ping`
//! - `device_add DRIVER,PROPERTY=VALUE,...`
//! - `device_del ID`: answered when the guest has let go of the device and it is gone

use serde_json::{json, Value};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const UNPLUG_LIMIT: Duration = Duration::from_secs(60);

/// A request under way; the guest waits for its answer before it asks again.
#[derive(Debug)]
enum Pending {
    Add,
    Delete {
        id: String,
        gone: bool,
        accepted: bool,
        since: Instant,
    },
}

pub struct Monitor<G = UnixStream, Q = UnixStream> {
    guest: G,
    qmp: Q,
    pending: Option<Pending>,
}

impl<G: Write, Q: Write> Monitor<G, Q> {
    pub fn new(guest: G, qmp: Q) -> Self {
        Monitor {
            guest,
            qmp,
            pending: None,
        }
    }

    fn answer(&mut self, text: &str) {
        self.pending = None;
        // A guest that is gone needs no answer.
        let _ = writeln!(self.guest, "{text}");
    }

    fn command(&mut self, command: Value) {
        if writeln!(self.qmp, "{command}").is_err() {
            self.answer("error the monitor is gone");
        }
    }

    /// Takes a line of the guest.
    pub fn request(&mut self, line: &str) {
        let line = line.trim();
        if line.is_empty() {
            return;
        }
        if self.pending.is_some() {
            return self.answer("error another request was under way, both are void");
        }
        match line.split_once(' ').unwrap_or((line, "")) {
            ("ping", "") => self.answer("ok"),
            ("device_add", args) if !args.is_empty() => {
                self.pending = Some(Pending::Add);
                // The human monitor takes properties as text, whatever their type.
                self.command(json!({
                    "execute": "human-monitor-command",
                    "arguments": { "command-line": format!("device_add {args}") }
                }));
            }
            ("device_del", id) if !id.is_empty() => {
                self.pending = Some(Pending::Delete {
                    id: id.to_owned(),
                    gone: false,
                    accepted: false,
                    since: Instant::now(),
                });
                self.command(json!({ "execute": "device_del", "arguments": { "id": id } }));
            }
            _ => self.answer("error unknown request, known are ping, device_add, device_del"),
        }
    }

    /// Takes a message of QEMU.
    pub fn message(&mut self, line: &str) {
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            return;
        };
        if message.get("QMP").is_some() {
            return self.command(json!({ "execute": "qmp_capabilities" }));
        }
        if message["event"] == "DEVICE_DELETED" {
            if let Some(Pending::Delete { id, gone, .. }) = &mut self.pending {
                *gone |= message["data"]["device"] == id.as_str();
            }
        } else if let Some(error) = message.get("error") {
            if self.pending.is_some() {
                let reason = error["desc"].as_str().unwrap_or("unknown").to_owned();
                return self.answer(&format!("error {reason}"));
            }
        } else if let Some(value) = message.get("return") {
            match &mut self.pending {
                Some(Pending::Add) => {
                    let said = value
                        .as_str()
                        .unwrap_or_default()
                        .trim()
                        .replace(['\r', '\n'], " ");
                    return match said.as_str() {
                        "" => self.answer("ok"),
                        said => self.answer(&format!("error {said}")),
                    };
                }
                Some(Pending::Delete { accepted, .. }) => *accepted = true,
                None => {}
            }
        }
        if matches!(
            self.pending,
            Some(Pending::Delete {
                gone: true,
                accepted: true,
                ..
            })
        ) {
            self.answer("ok");
        }
    }

    /// How long until [`Monitor::expire`] wants to be called.
    pub fn patience(&self) -> Duration {
        match &self.pending {
            Some(Pending::Delete { since, .. }) => UNPLUG_LIMIT.saturating_sub(since.elapsed()),
            _ => Duration::MAX,
        }
    }

    /// Gives up on an unplug that the guest does not let happen.
    pub fn expire(&mut self) {
        if self.pending.is_some() && self.patience().is_zero() {
            self.answer("error the guest did not release the device in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn monitor() -> Monitor<Vec<u8>, Vec<u8>> {
        Monitor::new(Vec::new(), Vec::new())
    }

    fn said(monitor: &Monitor<Vec<u8>, Vec<u8>>) -> String {
        String::from_utf8(monitor.guest.clone()).unwrap()
    }

    #[test]
    fn greets() {
        let mut monitor = monitor();
        monitor.message(r#"{"QMP": {"version": {}}}"#);
        monitor.message(r#"{"return": {}}"#);
        assert_eq!(monitor.qmp, b"{\"execute\":\"qmp_capabilities\"}\n");
        assert_eq!(said(&monitor), "");
    }

    #[test]
    fn ping_and_nonsense() {
        let mut monitor = monitor();
        monitor.request("ping");
        monitor.request("quit");
        monitor.request("");
        monitor.request("device_add");
        let said = said(&monitor);
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines[0], "ok");
        assert_eq!(lines.len(), 3);
        assert!(lines[1..].iter().all(|line| line.starts_with("error ")));
        assert!(monitor.qmp.is_empty());
    }

    #[test]
    fn adds() {
        let mut monitor = monitor();
        monitor.request("device_add pasid-testdev,id=x,bus=hp0");
        monitor.message(r#"{"return": ""}"#);
        monitor.request("device_add nonsense");
        monitor.message(r#"{"return": "Error: no such\r\nthing"}"#);
        assert_eq!(said(&monitor), "ok\nerror Error: no such  thing\n");
    }

    #[test]
    fn deletes_when_the_device_is_gone() {
        let event = |id| format!(r#"{{"event": "DEVICE_DELETED", "data": {{"device": "{id}"}}}}"#);
        let mut monitor = monitor();
        monitor.request("device_del x");
        monitor.message(r#"{"return": {}}"#);
        monitor.message(&event("y"));
        assert_eq!(said(&monitor), "");
        monitor.message(&event("x"));
        assert_eq!(said(&monitor), "ok\n");
        monitor.request("device_del x");
        monitor.message(&event("x"));
        monitor.message(r#"{"return": {}}"#);
        assert_eq!(said(&monitor), "ok\nok\n");
        monitor.request("device_del z");
        monitor.message(r#"{"error": {"class": "DeviceNotFound", "desc": "no z"}}"#);
        assert_eq!(said(&monitor), "ok\nok\nerror no z\n");
        assert!(monitor.patience() == Duration::MAX);
    }

    #[test]
    fn an_unplug_may_not_last_for_ever() {
        let mut monitor = monitor();
        monitor.request("device_del x");
        monitor.expire();
        assert_eq!(said(&monitor), "");
        if let Some(Pending::Delete { since, .. }) = &mut monitor.pending {
            *since -= 2 * UNPLUG_LIMIT;
        }
        monitor.expire();
        assert!(said(&monitor).starts_with("error "));
    }
}

//! play: transcripts of Fixtures through libsmtpstate from Rust, as play.py does from Python.
//!
//! Usage: play transcript...
//! Exit status: 0 if what comes out is what each transcript expects.

use std::ffi::{c_char, c_int, c_void, CStr};
use std::process::exit;

const CLIENT: c_int = 1;
const SERVER: c_int = 2;
const NEW_SERVER: c_int = 3;
const PEEK: u8 = 9;
const END_SERVER: u8 = 10;
const HANDOFF: u8 = 12;
const RELAY: u8 = 14;

/// struct smtpstate_policy.
#[repr(C)]
#[derive(Default)]
struct Policy {
    size: u32,
    security: u8,
    mail_protocol: u8,
    server_reset: u8,
    choices: [u8; 5],
    limits: [u32; 8],
    timeouts: [u32; 6],
}

/// struct smtpstate_command.
#[repr(C)]
struct Command {
    kind: u8,
    party: u8,
    hold: u8,
    verb: u8,
    separator: u8,
    reply: u8,
    reason: u8,
    reserved: u8,
}

/// struct smtpstate_conversation.
#[repr(C)]
struct State {
    opaque: [u64; 64],
}

extern "C" {
    fn smtpstate_policy_init(policy: *mut Policy);
    fn smtpstate_conversation_memory_size(policy: *const Policy) -> usize;
    fn smtpstate_conversation_init(state: *mut State, policy: *const Policy, memory: *mut c_void, size: usize) -> bool;
    fn smtpstate_conversation_wants(state: *const State, side: c_int) -> bool;
    fn smtpstate_conversation_receive(state: *mut State, side: c_int, octets: *const c_void, count: usize) -> usize;
    fn smtpstate_conversation_output(state: *const State, side: c_int, count: *mut usize) -> *const u8;
    fn smtpstate_conversation_sent(state: *mut State, side: c_int, count: usize);
    fn smtpstate_conversation_peeked(state: *mut State, first: c_int, ended: bool);
    fn smtpstate_conversation_handshake_finished(state: *mut State, outcome: c_int);
    fn smtpstate_conversation_server_restarted(state: *mut State, outcome: c_int);
    fn smtpstate_conversation_next_decision(state: *mut State) -> Command;
    fn smtpstate_reason_name(reason: c_int) -> *const c_char;
}

/// One transcript at play. Everything that is done is noted in the order in which it is done.
struct Player {
    state: Box<State>,
    _memory: Vec<u8>,
    client: Vec<u8>,
    server: Vec<u8>,
    server_side: c_int,
    is_tls_at_work: bool,
    is_relaying: bool,
    to_client: Vec<u8>,
    to_server: Vec<u8>,
    decisions: Vec<String>,
}

impl Player {
    fn new(lines: &[String]) -> Player {
        let has = |line: &str| lines.iter().any(|other| other == line);
        let mut policy = Policy::default();
        unsafe { smtpstate_policy_init(&mut policy) };
        if has("security required") {
            policy.security = 2;
        }
        if has("protocol lmtp") {
            policy.mail_protocol = 2;
        }
        if has("reset rset") {
            policy.server_reset = 2;
        }
        let mut memory = vec![0u8; unsafe { smtpstate_conversation_memory_size(&policy) }];
        let mut state = Box::new(State { opaque: [0; 64] });
        let is_made = unsafe {
            smtpstate_conversation_init(&mut *state, &policy, memory.as_mut_ptr() as *mut c_void, memory.len())
        };
        assert!(is_made, "the policy is refused");
        Player {
            state,
            _memory: memory,
            client: Vec::new(),
            server: Vec::new(),
            server_side: SERVER,
            is_tls_at_work: false,
            is_relaying: false,
            to_client: Vec::new(),
            to_server: Vec::new(),
            decisions: Vec::new(),
        }
    }

    fn happen(&mut self, line: &str) {
        if let Some(text) = line.strip_prefix("C:") {
            if !self.is_tls_at_work {
                self.client.extend(octets(text.strip_prefix(' ').unwrap_or(text)));
            }
        } else if let Some(text) = line.strip_prefix("S:") {
            self.server.extend(octets(text.strip_prefix(' ').unwrap_or(text)));
        } else if let Some(outcome) = line.strip_prefix("secured ") {
            self.is_tls_at_work = false;
            self.client.clear();
            let number = if outcome == "established" { 1 } else { 2 };
            unsafe { smtpstate_conversation_handshake_finished(&mut *self.state, number) };
        } else if let Some(outcome) = line.strip_prefix("restarted ") {
            let number = ["greeting", "ready", "failed"].iter().position(|name| *name == outcome).expect(line);
            if outcome != "failed" {
                self.server_side = NEW_SERVER;
            }
            unsafe { smtpstate_conversation_server_restarted(&mut *self.state, number as c_int + 1) };
        }
    }

    /// Does all there is to do.
    fn settle(&mut self) {
        loop {
            let mut moved = self.decide();
            moved |= self.send();
            if self.is_relaying {
                self.to_client.append(&mut self.server);
                self.to_server.append(&mut self.client);
                return;
            }
            let server_side = self.server_side;
            let pulled = Player::pull(&mut self.state, server_side, &mut self.server)
                || Player::pull(&mut self.state, CLIENT, &mut self.client);
            if !moved && !pulled {
                return;
            }
        }
    }

    fn pull(state: &mut State, side: c_int, unread: &mut Vec<u8>) -> bool {
        if unread.is_empty() || !unsafe { smtpstate_conversation_wants(state, side) } {
            return false;
        }
        let used = unsafe { smtpstate_conversation_receive(state, side, unread.as_ptr() as *const c_void, unread.len()) };
        unread.drain(..used);
        used > 0
    }

    fn send(&mut self) -> bool {
        let mut moved = false;
        for (side, sent) in [(SERVER, &mut self.to_server), (CLIENT, &mut self.to_client)] {
            let mut count = 0usize;
            let start = unsafe { smtpstate_conversation_output(&*self.state, side, &mut count) };
            if count > 0 {
                sent.extend_from_slice(unsafe { std::slice::from_raw_parts(start, count) });
                unsafe { smtpstate_conversation_sent(&mut *self.state, side, count) };
                moved = true;
            }
        }
        moved
    }

    fn decide(&mut self) -> bool {
        let mut moved = false;
        loop {
            let decision = unsafe { smtpstate_conversation_next_decision(&mut *self.state) };
            if decision.kind == 0 {
                return moved;
            }
            moved = true;
            let reason = unsafe { CStr::from_ptr(smtpstate_reason_name(decision.reason as c_int)) }.to_string_lossy();
            match decision.kind {
                PEEK => {
                    let unread = if decision.party as c_int == CLIENT { &self.client } else { &self.server };
                    let first = unread.first().map_or(-1, |octet| *octet as c_int);
                    unsafe { smtpstate_conversation_peeked(&mut *self.state, first, false) };
                    continue;
                }
                END_SERVER => self.server.clear(),
                HANDOFF => self.is_tls_at_work = true,
                RELAY => self.is_relaying = true,
                _ => (),
            }
            self.decisions.push(match decision.kind {
                END_SERVER => "end server".to_string(),
                11 => "restart".to_string(),
                HANDOFF => "handoff".to_string(),
                13 => format!("abort {reason}"),
                RELAY => "relay".to_string(),
                _ => format!("close {reason}"),
            });
        }
    }
}

/// A line of a transcript as octets: escapes as in C, CR LF unless a backslash ends it.
fn octets(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        match bytes.get(at + 1) {
            None => return out,
            Some(b'x') => {
                out.push(u8::from_str_radix(&text[at + 2..at + 4], 16).expect("two hexadecimal digits"));
                at += 4;
            }
            Some(b'{') => {
                let end = at + text[at..].find('}').expect("a closing brace");
                let count: usize = text[at + 4..end].parse().expect("a number");
                out.extend(std::iter::repeat(bytes[at + 2]).take(count));
                at = end + 1;
            }
            Some(letter) => {
                out.push(match letter {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'0' => 0,
                    other => *other,
                });
                at += 2;
            }
        }
    }
    out.extend(b"\r\n");
    out
}

fn is_event(line: &str) -> bool {
    ["C:", "S:", "secured ", "restarted ", "pause"].iter().any(|start| line.starts_with(start))
}

fn is_arrival(line: &str) -> bool {
    line.starts_with("C:") || line.starts_with("S:")
}

fn play(path: &str) -> bool {
    let text = std::fs::read_to_string(path).expect(path);
    let lines: Vec<String> =
        text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).map(String::from).collect();
    let mut player = Player::new(&lines);
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| is_event(line)) {
        player.happen(line);
        let goes_on = lines.get(index + 1).map_or(false, |next| is_arrival(next)) && is_arrival(line);
        if !goes_on {
            player.settle();
        }
    }
    player.settle();
    let said = |start: &str| -> Vec<u8> {
        lines.iter().filter_map(|line| line.strip_prefix(start)).flat_map(|text| octets(text.strip_prefix(' ').unwrap_or(text))).collect()
    };
    let decisions: Vec<String> = lines
        .iter()
        .filter(|line| {
            ["end server", "restart", "handoff", "relay"].contains(&line.as_str())
                || line.starts_with("abort ")
                || line.starts_with("close ")
        })
        .cloned()
        .collect();
    let agrees = player.to_client == said("c:") && player.to_server == said("s:") && player.decisions == decisions;
    if !agrees {
        println!("{path}:\n  expected {:?}\n  got      {:?}", decisions, player.decisions);
    }
    agrees
}

fn main() {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let passed = paths.iter().filter(|path| play(path)).count();
    println!("{passed} passed, {} failed", paths.len() - passed);
    exit(if passed == paths.len() && passed > 0 { 0 } else { 1 });
}

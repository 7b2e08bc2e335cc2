// page.js: a dialogue in the notation of Fixtures/transcripts, played step by step.
//
// Purpose: reads what happens (C:, S:, ended, handshake, ...), shows it to the caller of machine.js, and shows what came of it.
// Failure: a line that cannot be read is named with its number; nothing is played then.

"use strict";

/** Reads a transcript. What it expects (small letters) is left out: the machine shows what it does. */
function readDialogue(text) {
  const events = [];
  const choices = {};
  const problems = [];
  // Octets and ends on lines that follow one another arrive at once, as one segment does.
  let arrival = null;
  const arrive = (part, line) => {
    if (!arrival) events.push(arrival = { kind: "arrival", parts: [], text: "" });
    arrival.parts.push(part);
    arrival.text += (arrival.text ? "\n" : "") + line;
  };
  text.split("\n").forEach((line, index) => {
    const sent = /^([CS]): ?(.*)$/.exec(line);
    const words = line.trim().split(/\s+/).filter(Boolean);
    const end = /^(client|server) ended$/.exec(line.trim());
    if (sent || end) {
      const side = sent ? (sent[1] === "C" ? "client" : "server") : end[1];
      return arrive(sent ? { side, octets: decode(sent[2]) } : { side, octets: [], hasEnded: true }, line);
    }
    arrival = null;
    if (words.length === 0 || /^(#|[cs]:)/.test(line) || IGNORED.test(line)) {
      return;
    } else if (CHOICES[line.trim()]) {
      Object.assign(choices, CHOICES[line.trim()]);
    } else if (EVENTS[line.trim()]) {
      events.push({ ...EVENTS[line.trim()], text: line.trim() });
    } else {
      problems.push(`line ${index + 1}: "${line}" is not known`);
    }
  });
  return { events, choices, problems };
}

const IGNORED = /^(pause|unread|interest|deadline|abort|close|handoff|end server|restart$|relay|peek |limit |by hand|late )/;

const CHOICES = {
  "security required": { security: NUMBERS.SECURITY_REQUIRED },
  "security opportunistic": { security: NUMBERS.SECURITY_OPPORTUNISTIC },
  "protocol lmtp": { protocol: NUMBERS.PROTOCOL_LMTP },
  "protocol smtp": { protocol: NUMBERS.PROTOCOL_SMTP },
  "reset rset": { reset: NUMBERS.SERVER_RESET_RSET },
  "reset restart": { reset: NUMBERS.SERVER_RESET_RESTART },
  "bare line feed reject": { bareLineFeed: NUMBERS.BARE_LINE_FEED_REJECT },
  "bare line feed tolerate": { bareLineFeed: NUMBERS.BARE_LINE_FEED_TOLERATE },
  "cleartext authentication allowed": { allowsAuthentication: true },
};

const EVENTS = {
  "secured established": { kind: "handshake", number: NUMBERS.HANDSHAKE_ESTABLISHED },
  "secured failed": { kind: "handshake", number: NUMBERS.HANDSHAKE_FAILED },
  "restarted greeting": { kind: "restarted", number: NUMBERS.RESTARTED_GREETING },
  "restarted ready": { kind: "restarted", number: NUMBERS.RESTARTED_READY },
  "restarted failed": { kind: "restarted", number: NUMBERS.RESTARTED_FAILED },
  "unavailable": { kind: "unavailable" },
  ...Object.fromEntries(["greeting", "command", "reply", "reset", "handshake", "clear phase"].map((name) => [
    `expired ${name}`, { kind: "expired", number: NUMBERS["DEADLINE_" + name.toUpperCase().replace(" ", "_")] },
  ])),
};

const ESCAPES = { r: 13, n: 10, t: 9, 0: 0, "\\": 92 };

/** The octets of a line: printable ASCII, escapes as in C, \{x 300} for a repetition; CRLF unless a backslash ends it. */
function decode(text) {
  const octets = [];
  const pattern = /\\x([0-9A-Fa-f]{2})|\\\{(.) (\d{1,5})\}|\\([rnt0\\])|\\$|([^])/gu;
  let ends = true;
  for (const match of text.matchAll(pattern)) {
    const [whole, hex, repeated, count, escape, plain] = match;
    if (hex) octets.push(parseInt(hex, 16));
    else if (repeated) octets.push(...Array(Math.min(Number(count), 20000)).fill(repeated.charCodeAt(0) & 0xff));
    else if (escape) octets.push(ESCAPES[escape]);
    else if (whole === "\\") ends = false;
    else octets.push(...new TextEncoder().encode(plain));
  }
  return ends ? [...octets, 13, 10] : octets;
}

/** Octets for the reader: a line each, what is not printable escaped. */
function encode(octets) {
  const text = octets.map((octet) => {
    if (octet === 13) return "\\r";
    if (octet === 10) return "\\n\n";
    return octet >= 32 && octet < 127 ? String.fromCharCode(octet) : "\\x" + octet.toString(16).padStart(2, "0");
  }).join("");
  return text.replace(/\n$/, "").split("\n").map((line) => line.replace(/\\r\\n$/, ""));
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

class Page {
  constructor(machine) {
    this.machine = machine;
    this.at = 0;
    this.dialogue = document.getElementById("dialogue");
    this.steps = document.getElementById("steps");
    this.problem = document.getElementById("problem");
    this.preset = document.getElementById("preset");
    PRESETS.forEach(({ name }, index) => this.preset.append(element("option", { value: index, textContent: name })));
    this.preset.addEventListener("change", () => this.choose(Number(this.preset.value)));
    this.dialogue.addEventListener("input", () => this.play());
    for (const [name, step] of [["first", -Infinity], ["back", -1], ["next", 1], ["last", Infinity]])
      document.getElementById(name).addEventListener("click", () => this.show(this.at + step));
    // The number of a dialogue may stand after the # of the address.
    const chosen = Number(location.hash.slice(1)) || 0;
    this.choose(PRESETS[chosen] ? chosen : 0);
  }

  choose(index) {
    this.preset.value = String(index);
    this.dialogue.value = PRESETS[index].text;
    this.play();
  }

  /** Plays the whole dialogue and shows it to its end. */
  play() {
    const { events, choices, problems } = readDialogue(this.dialogue.value);
    this.problem.textContent = problems.join("; ");
    this.rows = [];
    if (problems.length === 0) {
      const caller = new Caller(this.machine, choices);
      this.rows.push({ event: "the connection is open", done: [], state: this.state() });
      for (const event of events) this.rows.push({ event: event.text, done: caller.happen(event), state: this.state() });
    }
    this.steps.replaceChildren(...this.rows.map((row, index) => this.row(row, index)));
    this.show(Infinity);
  }

  state() {
    const { phase, interest, deadlineName } = this.machine;
    const waits = interest === NUMBERS.INTEREST_DRAIN ? "output to be sent"
      : [interest & NUMBERS.INTEREST_CLIENT ? "client" : "", interest & NUMBERS.INTEREST_SERVER ? "server" : ""].filter(Boolean).join(" and ");
    return { phase, waits: waits || "nothing", timer: deadlineName };
  }

  row({ event, done, state }, index) {
    const list = element("ol", { className: "done" });
    for (const deed of done) {
      if (deed.note) list.append(element("li", { className: "note", textContent: deed.note }));
      else if (deed.words) list.append(element("li", { className: "command " + decisionClass(deed.words), textContent: deed.words }));
      else for (const line of encode(deed.octets))
        list.append(element("li", { className: "octets", textContent: `to ${deed.to}: ${line}` }));
    }
    const item = element("li", { className: "step", tabIndex: 0 },
      element("code", { className: "event", textContent: event }), list,
      element("p", { className: "state", textContent: `${state.phase}; waits for ${state.waits}; timer: ${state.timer}` }));
    item.addEventListener("click", () => this.show(index));
    return item;
  }

  show(at) {
    this.at = Math.max(0, Math.min(at, this.rows.length - 1));
    [...this.steps.children].forEach((item, index) => {
      item.classList.toggle("future", index > this.at);
      item.classList.toggle("current", index === this.at);
    });
    const row = this.rows[this.at];
    for (const name of ["phase", "waits", "timer"])
      document.getElementById(name).textContent = row ? row.state[name] : "";
    const decisions = this.rows.slice(0, this.at + 1).flatMap(({ done }) => done.map(({ words }) => words || ""))
      .filter((words) => words === "handoff" || words.startsWith("abort"));
    document.getElementById("decision").textContent = decisions[0] || "none yet";
    document.getElementById("position").textContent = `${this.at} of ${Math.max(0, this.rows.length - 1)}`;
  }
}

function decisionClass(words) {
  if (words === "handoff") return "handoff";
  if (words.startsWith("abort")) return "abort";
  return words.startsWith("close") ? "close" : "";
}

Machine.load().then((machine) => {
  window.page = new Page(machine);
  document.body.dataset.ready = "yes";
}, (error) => {
  document.getElementById("problem").textContent = `The state machine cannot be loaded: ${error}`;
});

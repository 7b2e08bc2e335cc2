// machine.js: the shipped state machine, compiled to WebAssembly, and a caller that follows its contract.
//
// Purpose: `Machine` wraps the functions of smtpstate.h; `Caller` plays the part of a mail program: it keeps the three holds,
// carries out every command, and notes what was written to each side.
// Contract: NUMBERS (the enumerations of smtpstate.h) and WASM (the module, base64) are put in front of this file when the page
// is made. The caller decides nothing by itself.

"use strict";

class Machine {
  static async load() {
    const octets = Uint8Array.from(atob(WASM), (c) => c.charCodeAt(0));
    const { instance } = await WebAssembly.instantiate(octets, {});
    return new Machine(instance.exports);
  }

  constructor(library) {
    this.library = library;
    this.memory = library.memory;
    // Places in the module's memory, after its own data: policy, session, answer, octets.
    this.policyAt = (library.__heap_base.value + 63) & ~63;
    this.sessionAt = this.policyAt + 128;
    this.answerAt = this.sessionAt + 256;
    this.wordsAt = this.answerAt + 64;
    this.octetsAt = this.wordsAt + 64;
    this.octetsLimit = this.memory.buffer.byteLength - this.octetsAt;
    if (this.octetsLimit < 70000) this.memory.grow(2);
    this.octetsLimit = this.memory.buffer.byteLength - this.octetsAt;
  }

  get bytes() { return new Uint8Array(this.memory.buffer); }
  get view() { return new DataView(this.memory.buffer); }

  start(choices) {
    const policy = this.policyAt;
    this.library.smtpstate_policy_init(policy);
    // The five octets after the size are the choices, in the order of struct smtpstate_policy.
    [choices.security, choices.protocol, choices.reset, choices.bareLineFeed].forEach((number, index) => {
      if (number) this.bytes[policy + 4 + index] = number;
    });
    this.bytes[policy + 8] = choices.allowsAuthentication ? 1 : 0;
    if (!this.library.smtpstate_session_init(this.sessionAt, policy)) throw new Error("the policy is refused");
  }

  command(at) {
    const [kind, party, hold, verb, separator, reply, reason] = this.bytes.slice(at, at + 7);
    this.library.smtpstate_command_describe(at, this.wordsAt, 64);
    return { kind, party, verb, separator, reply, reason, hold, words: this.text(this.wordsAt) };
  }

  text(at) {
    const bytes = this.bytes;
    let end = at;
    while (bytes[end] !== 0) end++;
    return new TextDecoder().decode(bytes.slice(at, end));
  }

  /** Tells the session of something; returns the first command. */
  tell(event, ...parameters) {
    this.library["smtpstate_session_" + event](this.answerAt, this.sessionAt, ...parameters);
    return this.command(this.answerAt);
  }

  receive(party, octets) {
    const count = Math.min(octets.length, this.octetsLimit);
    this.bytes.set(octets.slice(0, count), this.octetsAt);
    this.library.smtpstate_session_receive(this.answerAt, this.sessionAt, party, this.octetsAt, count);
    return { consumed: this.view.getUint32(this.answerAt, true), command: this.command(this.answerAt + 4) };
  }

  /** A held line as FORWARD and PASS write it. */
  finishLine(octets, separator) {
    this.bytes.set(octets, this.octetsAt);
    const length = this.library.smtpstate_finish_line(this.octetsAt, octets.length, separator);
    return Array.from(this.bytes.slice(this.octetsAt, this.octetsAt + length));
  }

  replyText(reply) { return octetsOf(this.text(this.library.smtpstate_reply_text(reply))); }
  get interest() { return this.library.smtpstate_session_interest(this.sessionAt); }
  get deadline() { return this.library.smtpstate_session_deadline(this.sessionAt); }
  get phaseNumber() { return this.library.smtpstate_session_phase(this.sessionAt); }
  get phase() { return this.text(this.library.smtpstate_phase_name(this.phaseNumber)); }
  get deadlineName() { return this.text(this.library.smtpstate_deadline_name(this.deadline)); }
  get isFinal() { return this.library.smtpstate_session_is_final(this.sessionAt) !== 0; }
}

const octetsOf = (text) => Array.from(text, (c) => c.charCodeAt(0) & 0xff);

/** One side's input. */
class Stream {
  constructor() {
    this.octets = [];
    this.hasEnded = false;
    this.isReported = false;
  }
}

class Caller {
  constructor(machine, choices) {
    this.machine = machine;
    machine.start(choices);
    this.client = new Stream();
    this.server = new Stream();
    this.serverSide = NUMBERS.PARTY_SERVER;
    this.clientHold = [];
    this.replyHold = [];
    this.earlierHold = [];
    this.isTLSAtWork = false;
    this.isRelaying = false;
    this.done = [];
  }

  /** Lets something happen; returns what was done: [{words}] for commands, [{to, octets}] for what was written. */
  happen(event) {
    this.done = [];
    switch (event.kind) {
      case "arrival": this.arrive(event.parts); break;
      case "handshake":
        if (this.isTLSAtWork) this.client = new Stream();
        this.isTLSAtWork = false;
        this.carryOut(this.machine.tell("handshake_finished", event.number));
        break;
      case "restarted": this.restarted(event.number); break;
      case "expired": this.carryOut(this.machine.tell("timer_expired", event.number)); break;
      case "unavailable": this.carryOut(this.machine.tell("tls_unavailable")); break;
    }
    while (this.move());
    return this.done;
  }

  arrive(parts) {
    for (const { side, octets, hasEnded } of parts) {
      if (side === "client" && this.isTLSAtWork) {
        this.done.push({ note: "these octets go to the TLS layer; the session does not see them" });
      } else {
        this[side].octets.push(...octets);
      }
      if (hasEnded) this[side].hasEnded = true;
    }
  }

  restarted(number) {
    if (number !== NUMBERS.RESTARTED_FAILED) this.serverSide = NUMBERS.PARTY_NEW_SERVER;
    this.carryOut(this.machine.tell("server_restarted", number));
  }

  move() {
    if (this.isRelaying) return this.copy();
    if (this.machine.isFinal) return false;
    const interest = this.machine.interest;
    if (interest === NUMBERS.INTEREST_DRAIN) {
      this.carryOut(this.machine.tell("output_drained"));
      return true;
    }
    return this.pull("server", interest & NUMBERS.INTEREST_SERVER) || this.pull("client", interest & NUMBERS.INTEREST_CLIENT);
  }

  pull(name, isWanted) {
    const stream = this[name];
    const party = name === "client" ? NUMBERS.PARTY_CLIENT : this.serverSide;
    if (stream.octets.length === 0) {
      if (!stream.hasEnded || stream.isReported) return false;
      stream.isReported = true;
      this.carryOut(this.machine.tell("input_ended", party));
      return true;
    }
    if (!isWanted) return false;
    const { consumed, command } = this.machine.receive(party, stream.octets);
    const taken = stream.octets.splice(0, consumed);
    (name === "client" ? this.clientHold : this.replyHold).push(...taken);
    this.carryOut(command);
    return consumed > 0;
  }

  copy() {
    const moved = this.client.octets.length + this.server.octets.length > 0;
    this.write("client", this.server.octets.splice(0));
    this.write("server", this.client.octets.splice(0));
    return moved;
  }

  write(to, octets) {
    if (octets.length > 0) this.done.push({ to, octets });
  }

  carryOut(first) {
    let command = first;
    for (;;) {
      const answer = this.carryOutOne(command);
      if (answer) {
        command = answer;
      } else if (this.machine.interest === NUMBERS.INTEREST_AGAIN) {
        command = this.machine.tell("next_command");
      } else {
        return;
      }
    }
  }

  carryOutOne(command) {
    const { machine } = this;
    if (command.kind !== NUMBERS.KIND_KEEP) this.done.push({ words: command.words });
    switch (command.kind) {
      case NUMBERS.KIND_DROP:
        if (command.hold === NUMBERS.HOLD_CLIENT) this.clientHold = []; else this.replyHold = [];
        return null;
      case NUMBERS.KIND_FORWARD:
        this.write("server", machine.finishLine(this.clientHold, 0));
        this.clientHold = [];
        return null;
      case NUMBERS.KIND_PASS:
        this.write("client", machine.finishLine(this.replyHold, command.separator));
        this.replyHold = [];
        return null;
      case NUMBERS.KIND_PASS_EARLIER:
        this.write("client", machine.finishLine(this.earlierHold, command.separator));
        this.earlierHold = [];
        return null;
      case NUMBERS.KIND_STASH:
        this.earlierHold = this.replyHold;
        this.replyHold = [];
        return null;
      case NUMBERS.KIND_REPLY:
        this.write("client", machine.replyText(command.reply));
        this.clientHold = [];
        return null;
      case NUMBERS.KIND_RESET_SERVER:
        this.write("server", octetsOf("RSET\r\n"));
        return null;
      case NUMBERS.KIND_PEEK: {
        const stream = command.party === NUMBERS.PARTY_CLIENT ? this.client : this.server;
        const first = stream.octets.length > 0 ? stream.octets[0] : -1;
        return machine.tell("peeked", first, stream.octets.length === 0 && stream.hasEnded ? 1 : 0);
      }
      case NUMBERS.KIND_END_SERVER:
        this.server = new Stream();
        this.replyHold = [];
        this.earlierHold = [];
        return null;
      case NUMBERS.KIND_HANDOFF:
        this.isTLSAtWork = true;
        return null;
      case NUMBERS.KIND_RELAY:
        this.isRelaying = true;
        return null;
      default:
        return null;
    }
  }
}

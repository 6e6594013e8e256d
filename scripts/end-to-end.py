#!/usr/bin/env python3
"""Plays devices against one gateway executable on loopback and says what held. Python 3.7 or later, nothing else.

    end-to-end.py [--kind echo|daemon] -- COMMAND...

COMMAND is what starts the executable, an emulator included; the addresses are put behind it. `echo` is the
example of that name: what comes back is the proof. `daemon` is `pulsegate`: its events on stdout are. Exit code 0
if every check held, 1 if not, 2 for wrong usage. Nothing is skipped in silence.
"""
import argparse, base64, collections, json, os, queue, signal, socket, subprocess, sys, tempfile, threading, time

BEAT = b"heartbeat"
ANSWER = b'{"Type":"Heartbeat"}'
REPLY = b"udp responsed"
WAIT = 20  # seconds that anything but a heartbeat may take: emulated, and on a busy machine
FACE = base64.b64encode(bytes(range(256)) * 500)  # 170,668 bytes


class Failed(Exception):
    pass


def expect(condition, otherwise):
    if not condition:
        raise Failed(otherwise)


def until(condition, otherwise, seconds=WAIT):
    """Waits for something that is observed, not awaited."""
    deadline = time.monotonic() + seconds
    while not condition():
        expect(time.monotonic() < deadline, f"{otherwise} within {seconds} s")
        time.sleep(0.02)


def status(**members):
    return json.dumps({"Type": "Status", **members}, separators=(",", ":")).encode()


class Device:
    """One connection. Beats are taken out of what arrives, counted, and answered if `answers`."""

    def __init__(self, gateway, answers=True):
        self.tcp = socket.create_connection(gateway, timeout=WAIT)
        self.tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answers, self.beats, self.text, self.ended = answers, 0, b"", None
        self.port = self.tcp.getsockname()[1]

    def send(self, data):
        self.tcp.sendall(data)

    def read(self, seconds):
        """Takes what arrives within `seconds`, up to one read. False at the end of the stream."""
        self.tcp.settimeout(max(seconds, 0.001))
        try:
            data = self.tcp.recv(65536)
        except socket.timeout:
            return True
        except ConnectionError as error:
            data, self.ended = b"", error.strerror
        if not data:
            self.ended = self.ended or "end of stream"
            return False
        *before, self.text = (self.text + data).split(BEAT)
        self.text = b"".join(before) + self.text
        self.beats += len(before)
        self.tcp.settimeout(WAIT)
        if self.answers and before:
            self.send(ANSWER * len(before))
        return True

    def await_text(self, text, seconds=WAIT):
        deadline = time.monotonic() + seconds
        while text not in self.text:
            expect(time.monotonic() < deadline, f"{text!r} did not come within {seconds} s, but {self.text[:200]!r}")
            expect(self.read(deadline - time.monotonic()), f"{self.ended} before {text!r}")

    def await_end(self, seconds=WAIT):
        deadline = time.monotonic() + seconds
        while self.read(deadline - time.monotonic()):
            expect(time.monotonic() < deadline, f"not closed within {seconds} s")

    def close(self):
        self.tcp.close()


class Gateway:
    """The executable under test, on ports that were free a moment ago."""

    def __init__(self, kind, command):
        self.kind, self.events, self.lines = kind, [], queue.Queue()
        self.scratch = tempfile.TemporaryDirectory(prefix="pulsegate-")
        self.control = os.path.join(self.scratch.name, "control.sock")
        self.tcp, self.udp = ("127.0.0.1", free(socket.SOCK_STREAM)), free(socket.SOCK_DGRAM)
        # Discovery on all addresses: only then the answer's source address shows whether IP_PKTINFO works.
        daemon = ["serve", "--events", "-", "--control", self.control, "--log-level", "warn"]
        command = command + (daemon if kind == "daemon" else [])
        command += ["--listen", "%s:%d" % self.tcp, "--discovery", f"0.0.0.0:{self.udp}"]
        # stderr is the caller's: a log line or an emulator's complaint belongs beside the failed check.
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        threading.Thread(target=self.gather, daemon=True).start()
        until(self.is_up, "the gateway did not listen")

    def gather(self):
        for line in self.process.stdout:
            self.lines.put(line)

    def is_up(self):
        code = self.process.poll()
        expect(code is None, f"it ended at once with code {code}")
        try:
            socket.create_connection(self.tcp, timeout=1).close()
            return True
        except OSError:
            return False

    def await_event(self, event, **members):
        def found():
            while not self.lines.empty():
                line = self.lines.get()
                try:
                    self.events.append(json.loads(line))
                except ValueError:
                    raise Failed(f"a line that is no JSON: {line[:200]!r}")
            return self.first(event, **members)

        until(found, f"no {event} event with {str(members)[:200]}")
        return self.first(event, **members)

    def first(self, event, **members):
        for candidate in self.events:
            if candidate["event"] == event and all(candidate.get(key) == value for key, value in members.items()):
                return candidate
        return None

    def ask(self, **request):
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(WAIT)
            control.connect(self.control)
            control.sendall(json.dumps({"id": 1, **request}).encode() + b"\n")
            return json.loads(control.makefile().readline())

    def end(self):
        """SIGTERM, and how the process took it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(WAIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failed(f"still running {WAIT} s after SIGTERM")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.scratch.cleanup()


def free(kind):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def arrived(gateway, device, mark, **members):
    """Proof that the gateway took a Status whose `Echo` is `mark`."""
    if gateway.kind == "echo":
        device.await_text(b"echo " + mark.encode())
    else:
        gateway.await_event("message", port=device.port, data={"Type": "Status", **members, "Echo": mark})


def ended(gateway, device, reason):
    device.await_end()
    if gateway.kind == "daemon":
        return gateway.await_event("disconnect", port=device.port, reason=reason)


def probe(gateway, asked, seconds):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(seconds)
        udp.sendto(b"where are you?", (asked, gateway.udp))
        try:
            answer, source = udp.recvfrom(64)
        except socket.timeout:
            return False
    expect(answer == REPLY, f"{answer!r} instead of {REPLY!r}")
    expect(source == (asked, gateway.udp), f"asked {asked}:{gateway.udp}, {source[0]}:{source[1]} answered")
    return True


def discovery(gateway):
    # TCP is up, UDP perhaps not yet. Once it is, no probe may go unanswered.
    until(lambda: probe(gateway, "127.0.0.1", 0.5), "no probe was answered")
    for asked in ("127.0.0.2", "127.0.0.1") * 5:
        expect(probe(gateway, asked, WAIT), f"a probe to {asked} was not answered within {WAIT} s")


def two_in_one_read(gateway):
    device = Device(gateway.tcp)
    device.send(status(Echo="first") + status(Echo="second"))
    arrived(gateway, device, "first")
    arrived(gateway, device, "second")
    device.close()


def byte_at_a_time(gateway):
    device = Device(gateway.tcp)
    for byte in status(Note='a "quoted" }{ brace\\', Echo="bytewise"):
        device.send(bytes([byte]))
        time.sleep(0.002)
    arrived(gateway, device, "bytewise", Note='a "quoted" }{ brace\\')
    device.close()


def picture(gateway):
    device = Device(gateway.tcp)
    for mark in ("picture one", "picture two"):
        device.send(status(Picture=FACE.decode(), Echo=mark))
        arrived(gateway, device, mark, Picture=FACE.decode())
    device.close()


def refused_object(gateway):
    """Its braces balance, so it costs itself alone."""
    device = Device(gateway.tcp)
    device.send(b'{"Type":1}{"x":[}{"Type":"Status","Bad":"\xff"}' + status(Echo="after"))
    arrived(gateway, device, "after")
    if gateway.kind == "daemon":
        for reason in ("type_not_string", "invalid_json", "invalid_utf8"):
            gateway.await_event("rejected", port=device.port, reason=reason)
    device.close()


def bad_bytes(gateway):
    device = Device(gateway.tcp)
    device.send(b"GET / HTTP/1.1\r\n\r\n" + status(Echo="smuggled"))
    ended(gateway, device, "framing")
    expect(b"smuggled" not in device.text, "what stood behind bad bytes was read as a message")
    if gateway.kind == "daemon":
        expect(not gateway.first("message", port=device.port), "what stood behind bad bytes was read as a message")


def crowd(gateway):
    devices = [Device(gateway.tcp) for _ in range(100)]
    for number, device in enumerate(devices):
        device.send(status(Echo=f"number {number};"))
    for number, device in enumerate(devices):
        arrived(gateway, device, f"number {number};")
    for device in devices:
        device.close()


def heartbeats(gateway):
    """Default timing: a beat every 2 s, silence borne for 5 of them, so death after 10 to 12 s."""
    began, alive, silent = time.monotonic(), Device(gateway.tcp), Device(gateway.tcp, answers=False)
    died = []

    def listen():
        try:
            ended(gateway, silent, "silent")
            died.append(time.monotonic() - began)
        except Failed as error:
            died.append(error)

    listener = threading.Thread(target=listen)
    listener.start()
    while time.monotonic() < began + 15:
        expect(alive.read(began + 15 - time.monotonic()), f"a device that answers was dropped: {alive.ended}")
    listener.join()
    expect(not isinstance(died[0], Failed), f"the silent device: {died[0]}")
    expect(9.5 <= died[0] <= 13.5, f"the silent device was dropped after {died[0]:.1f} s, not 10 to 12")
    expect(silent.beats == 5, f"the silent device got {silent.beats} beats, not 5")
    expect(6 <= alive.beats <= 8, f"{alive.beats} beats in 15 s")
    alive.send(status(Echo="still here"))
    arrived(gateway, alive, "still here")
    alive.close()


def command(gateway):
    """The daemon's way down: through the control socket. The example has none; every echo is a command."""
    if gateway.kind == "echo":
        return
    device = Device(gateway.tcp)
    conn = gateway.await_event("connect", port=device.port)["conn"]
    answer = gateway.ask(op="send", device=f"127.0.0.1:{device.port}", text="reboot now")
    expect(answer.get("ok") is True and answer.get("conn") == conn, f"send was answered by {answer}")
    device.await_text(b"reboot now")
    device.close()
    gateway.await_event("disconnect", port=device.port, reason="closed")


def end(gateway):
    device = Device(gateway.tcp)
    device.send(status(Echo="last"))
    arrived(gateway, device, "last")
    code = gateway.end()
    # The example handles no signals: it, or the emulator in its name, dies of this one.
    wanted = {"echo": (-signal.SIGTERM, 128 + signal.SIGTERM), "daemon": (0,)}[gateway.kind]
    expect(code in wanted, f"SIGTERM gave exit code {code}")
    ended(gateway, device, "shutdown")


CHECKS = [
    ("discovery answers from the address that was asked", discovery),
    ("two objects in one read", two_in_one_read),
    ("one object, a byte at a time", byte_at_a_time),
    ("two objects with a picture of 170 KB", picture),
    ("refused objects cost only themselves", refused_object),
    ("bad bytes close the connection", bad_bytes),
    ("a hundred devices at a time", crowd),
    ("a command through the control socket", command),
    ("heartbeats: answered ones keep, silence ends", heartbeats),
    ("SIGTERM ends it", end),
]


def main():
    parser = argparse.ArgumentParser(description="Checks one gateway executable on loopback.")
    parser.add_argument("--kind", choices=["echo", "daemon"], default="daemon", help="what COMMAND starts (daemon)")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="behind --: what starts the executable")
    options = parser.parse_args()
    counts = collections.Counter()
    try:
        gateway = Gateway(options.kind, options.command)
    except (Failed, OSError) as error:
        sys.exit(f"FAILED  start: {error}")
    try:
        for name, check in CHECKS:
            if check is command and options.kind == "echo":
                continue
            began = time.monotonic()
            try:
                check(gateway)
                result, detail = "ok    ", ""
            except (Failed, OSError, ValueError, KeyError) as error:
                result, detail = "FAILED", f": {error or type(error).__name__}"
            counts[result.strip()] += 1
            print(f"  {result}  {name} ({time.monotonic() - began:.1f} s){detail}", flush=True)
    finally:
        gateway.kill()
    print(f"  end to end: {counts['ok']} checks held, {counts['FAILED']} failed", flush=True)
    return 1 if counts["FAILED"] else 0


if __name__ == "__main__":
    sys.exit(main())

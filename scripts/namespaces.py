"""The devices of scripts/namespaces.sh, which describes each part. Python's standard library only."""

import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time

UDP, TCP = 5555, 5556
ANSWER = b"udp responsed"


def say(text):
    print("    " + text, flush=True)


def holds(good, what, expected, saw):
    """Prints one expectation and what came instead, and returns whether it held."""
    if not good:
        say("WRONG: %s: expected %s, saw %s" % (what, expected, saw))
    return good


def probe(to, source="", broadcast=False):
    """The address that answers a probe, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind((source, 0))
        s.settimeout(2)
        if broadcast:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        s.sendto(b"discover", (to, UDP))
        try:
            answer, address = s.recvfrom(1000)
        except socket.timeout:
            return None
        return address[0] if answer == ANSWER and address[1] == UDP else "%s: %r" % (address, answer)


def discovery():
    """Each row: the probe's destination, its source, and the address that must answer."""
    rows = [
        ("10.77.1.1", "10.77.1.2", "10.77.1.1"),
        ("10.77.2.1", "10.77.2.2", "10.77.2.1"),
        # A probe to the alias gets the alias's answer, though the interface's first address is another.
        ("10.77.3.1", "10.77.3.2", "10.77.3.1"),
        ("10.77.3.1", "10.77.1.2", "10.77.3.1"),
        # The answer to a broadcast comes from the address that the kernel routes to that sender from.
        ("10.77.1.255", "10.77.1.2", "10.77.1.1"),
        ("10.77.2.255", "10.77.2.2", "10.77.2.1"),
        ("10.77.3.255", "10.77.3.2", "10.77.3.1"),
    ]
    good = True
    for to, source, expected in rows:
        got = probe(to, source, to.endswith(".255"))
        good &= holds(got == expected, "the answer to a probe from %s to %s" % (source, to), expected, got)
        say("%-12s asked from %-10s answers %s" % (to, source, got))
    # 255.255.255.255 names no network, so the test binds to an interface. Real devices have one interface.
    for interface, expected in (("d1", "10.77.1.1"), ("d2", "10.77.2.1")):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            s.settimeout(2)
            s.sendto(b"", ("255.255.255.255", UDP))
            try:
                got = s.recvfrom(1000)[1][0]
            except socket.timeout:
                got = None
        say("255.255.255.255 on %s answers %s" % (interface, got))
        if not holds(got == expected, "the answer to 255.255.255.255 on " + interface, expected, got):
            good = False
            continue
        # A device can connect to that address.
        with socket.create_connection((got, TCP), timeout=5) as device:
            device.settimeout(10)
            beat = device.recv(9)
            good &= holds(beat == b"heartbeat", "the first bytes from " + got, b"heartbeat", beat)
    return good


def only(network):
    """Only the allowed interface answers."""
    allowed, other = probe("10.77.2.255", "", True), probe("10.77.1.255", "", True)
    say("with interfaces_allow = g2: 10.77.2.255 answers %s, 10.77.1.255 answers %s" % (allowed, other))
    good = holds(allowed == network + ".1", "the answer to 10.77.2.255", network + ".1", allowed)
    return holds(other is None, "the answer to 10.77.1.255", None, other) and good


class Device:
    """A device without faults that counts beats and lost connections."""

    def __init__(self, to, connect=True):
        self.to, self.deaths, self.socket, self.retry = to, 0, None, 0
        self.input, self.beats = b"", 0
        self.number = 0
        if connect:
            self.connect()

    def connect(self):
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex((self.to, TCP))
        self.input = b""

    def send(self, data):
        try:
            self.socket.send(data)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError, OSError):
            pass

    def read(self, now):
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.socket.close()
            self.socket, self.retry = None, now + 1
            self.deaths += 1
            return
        self.input += data
        while self.input.startswith(b"heartbeat"):
            self.input = self.input[9:]
            self.beats += 1
            self.send(b'{"Type":"Heartbeat"}')


def loss(to, number, seconds):
    """Devices that report every 5 s and answer every beat. Counts deaths, and fails only where no beats come."""
    devices = [Device(to) for n in range(number)]
    begun = time.monotonic()
    report = {}
    while time.monotonic() < begun + seconds:
        now = time.monotonic()
        sockets = {d.socket: d for d in devices if d.socket}
        readable, _, _ = select.select(list(sockets), [], [], 0.1)
        for s in readable:
            sockets[s].read(now)
        for n, device in enumerate(devices):
            if device.socket is None and now >= device.retry:
                device.connect()
            if device.socket and now >= report.get(n, begun + n % 5):
                report[n] = now + 5
                device.number += 1
                device.send(b'{"Type":"Status","Number":%d}' % device.number)
    deaths, beats = sum(d.deaths for d in devices), sum(d.beats for d in devices)
    minutes = number * seconds / 60
    say("%d devices, %d s: %d beats heard, %d connections ended by the gateway: one in %s device minutes"
        % (number, seconds, beats, deaths, "%.0f" % (minutes / deaths) if deaths else "more than %.0f" % minutes))
    # The interval is 2 s. Half of the beats may get lost with their connections.
    least = number * seconds / 4
    return holds(beats > least, "beats", "more than %d" % least, beats)


def link(here, there, delay, share, seed):
    """A link between two namespaces that delays every packet by `delay` seconds and loses a share of them. It joins a
    TUN device in each, for kernels without netem."""
    tunsetiff, iff_tun, iff_no_pi = 0x400454CA, 0x0001, 0x1000
    libc = ctypes.CDLL(None, use_errno=True)
    ends = []
    for namespace, address in ((here, "10.77.4.1/24"), (there, "10.77.4.2/24")):
        # A TUN device belongs to the namespace of its open call. Its file descriptor works in every namespace.
        with open("/run/netns/" + namespace) as f:
            if libc.setns(f.fileno(), 0x40000000):
                raise OSError(ctypes.get_errno(), "setns")
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(end, tunsetiff, struct.pack("16sH22x", b"slow0", iff_tun | iff_no_pi))
        subprocess.check_call(["ip", "address", "add", address, "dev", "slow0"])
        subprocess.check_call(["ip", "link", "set", "slow0", "up", "mtu", "1500"])
        ends.append(end)
    chance, waiting, number = random.Random(seed), [], 0
    print("up", flush=True)
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, end, packet = heapq.heappop(waiting)
            os.write(end, packet)
        readable, _, _ = select.select(ends, [], [], waiting[0][0] - now if waiting else None)
        for end in readable:
            packet = os.read(end, 65536)
            number += 1
            if chance.random() >= share:
                other = ends[1] if end == ends[0] else ends[0]
                heapq.heappush(waiting, (time.monotonic() + delay, number, other, packet))


# Reads nothing and has a small buffer, so that most of a command has to wait in the gateway.
DEAF = """
import socket, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
s.connect(("10.77.1.1", %d))
print("up", flush=True)
time.sleep(600)
""" % TCP

LIVE = """
import socket
s = socket.create_connection(("10.77.2.1", %d))
print("up", flush=True)
while data := s.recv(1000):
    s.sendall(b'{"Type":"Heartbeat"}' * data.count(b"heartbeat"))
""" % TCP


def resident(pid):
    """The resident memory of a process in KiB."""
    with open("/proc/%s/status" % pid) as status:
        return int(status.read().split("VmRSS:")[1].split()[0])


def descriptors(pid):
    """The number of open descriptors, once it has stayed the same for a second: control clients have left by then."""
    last, since = None, 0
    while True:
        now = len(os.listdir("/proc/%s/fd" % pid))
        if now != last:
            last, since = now, time.monotonic()
        if time.monotonic() > since + 1:
            return now
        time.sleep(0.1)


def disconnects(events, ip):
    with open(events) as lines:
        found = [json.loads(line) for line in lines if line.endswith("\n") and '"disconnect"' in line]
    return [event for event in found if event["ip"] == ip]


def fill(control):
    """Gives the gateway 2 MiB for the deaf device, in 35 commands, since a request has a limit of its own."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(control)
        for number in range(35):
            request = {"id": number, "op": "send", "device": "10.77.1.2", "text": "x" * 60_000}
            client.sendall(json.dumps(request).encode() + b"\n")
        # The answers come when the device has all bytes, which is never. So this waits for the gateway to read.
        time.sleep(1)


def cable(here, there, gateway, control, pid, events):
    """Runs outside the namespaces: a device on each interface, and more than 1 MiB for the device whose cable breaks."""
    inside = ["ip", "netns", "exec", there, sys.executable, "-c"]
    before = descriptors(pid), resident(pid)
    devices = [subprocess.Popen(inside + [code], stdout=subprocess.PIPE, text=True) for code in (DEAF, LIVE)]
    for device in devices:
        line = device.stdout.readline()
        assert line == "up\n", "expected a device to say 'up', saw %r" % line
    fill(control)
    stats = json.loads(subprocess.check_output([gateway, "stats", "--json", "--control", control]))
    waiting = stats["memory"]["outboxes_bytes"]
    during = resident(pid)
    say("%d KiB wait to be sent; the cable is pulled" % (waiting >> 10))
    subprocess.check_call(["ip", "-n", there, "link", "set", "d1", "down"])
    pulled, ends = time.monotonic(), []
    while not ends and time.monotonic() < pulled + 60:
        time.sleep(0.2)
        ends = disconnects(events, "10.77.1.2")
    took = time.monotonic() - pulled
    reason = ends[0]["reason"] if ends else "no disconnect"
    say("%.1f s later: %s, %s bytes were not sent" % (took, reason, ends[0].get("unsent_bytes") if ends else "no"))
    after = descriptors(pid), resident(pid)
    say("RSS in KiB: before %d, while bytes wait %d, after %d" % (before[1], during, after[1]))
    held = ["ip", "netns", "exec", here, "ss", "-Htn", "dst", "10.77.1.2"]
    left = subprocess.check_output(held, text=True).strip()
    others = disconnects(events, "10.77.2.2")
    good = [
        holds(waiting > 1 << 20, "bytes that wait", "more than 1 MiB", waiting),
        holds(reason in ("stalled", "silent"), "the reason", "stalled or silent", reason),
        holds(took < 45, "seconds until the disconnect", "less than 45", "%.1f" % took),
        holds(not left, "sockets that the kernel holds for the device", "none", left),
        holds(after[0] == before[0] + 1, "descriptors", "%d and the living device's" % before[0], after[0]),
        holds(not others, "disconnects of the living device", "none", others),
        holds(devices[1].poll() is None, "the living device", "a process that runs", devices[1].poll()),
    ]
    for device in devices:
        device.kill()
        device.wait()
    return all(good)


def main():
    part, rest = sys.argv[1], sys.argv[2:]
    if part == "discovery":
        good = discovery()
    elif part == "only":
        good = only(*rest)
    elif part == "loss":
        good = loss(rest[0], int(rest[1]), int(rest[2]))
    elif part == "link":
        good = link(rest[0], rest[1], 0.2, 0.2, int(rest[2]))
    else:
        good = cable(*rest)
    sys.exit(0 if good else 1)


main()

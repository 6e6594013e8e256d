"""The devices of scripts/namespaces.sh, which says what each part is about. Python's standard library only."""

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
    """Each row: where the probe goes, from which address, and who must answer."""
    rows = [
        ("10.77.1.1", "10.77.1.2", "10.77.1.1"),
        ("10.77.2.1", "10.77.2.2", "10.77.2.1"),
        # The alias is asked, the alias answers, though the interface's first address is another.
        ("10.77.3.1", "10.77.3.2", "10.77.3.1"),
        ("10.77.3.1", "10.77.1.2", "10.77.3.1"),
        # Of a broadcast, the kernel tells the address that the gateway would answer that sender from.
        ("10.77.1.255", "10.77.1.2", "10.77.1.1"),
        ("10.77.2.255", "10.77.2.2", "10.77.2.1"),
        ("10.77.3.255", "10.77.3.2", "10.77.3.1"),
    ]
    good = True
    for to, source, expected in rows:
        got = probe(to, source, to.endswith(".255"))
        good &= got == expected
        say("%-12s asked from %-10s answers %s%s" % (to, source, got, "" if got == expected else "  WRONG: " + expected))
    # 255.255.255.255 has no network in it: the interface is chosen by binding to it, as real devices have but one.
    for interface, expected in (("d1", {"10.77.1.1"}), ("d2", {"10.77.2.1"})):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            s.settimeout(2)
            s.sendto(b"", ("255.255.255.255", UDP))
            try:
                got = s.recvfrom(1000)[1][0]
            except socket.timeout:
                got = None
        good &= got in expected
        say("255.255.255.255 on %s answers %s%s" % (interface, got, "" if got in expected else "  WRONG"))
        # And one really connects there.
        with socket.create_connection((got, TCP), timeout=5) as device:
            device.settimeout(10)
            beat = device.recv(9)
            good &= beat == b"heartbeat"
    return good


def only(network):
    """The interface that is allowed answers, the other does not."""
    there, not_there = probe("10.77.2.255", "", True), probe("10.77.1.255", "", True)
    say("with interfaces_allow = g2: 10.77.2.255 answers %s, 10.77.1.255 answers %s" % (there, not_there))
    return there == network + ".1" and not_there is None


class Device:
    """One that does everything right, and counts."""

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
    """Devices that report every 5 s and answer every beat. Never fails: a death here is what is to be counted."""
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
    return beats > number * seconds / 2 * 0.5


def link(here, there, delay, share, seed):
    """A link between two namespaces that holds every packet for `delay` seconds and loses a share of them, for kernels
    without netem: a TUN device in each, and this between them."""
    tunsetiff, iff_tun, iff_no_pi = 0x400454CA, 0x0001, 0x1000
    libc = ctypes.CDLL(None, use_errno=True)
    ends = []
    for namespace, address in ((here, "10.77.4.1/24"), (there, "10.77.4.2/24")):
        # A TUN device belongs to the namespace in which it is opened; its descriptor works in every other.
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


def cable(here, there, gateway, control, pid, events):
    """Runs outside the namespaces: a device on each interface, 1 MiB for the one whose cable is pulled."""
    def resident():
        status = open("/proc/%s/status" % pid).read()
        return int(status.split("VmRSS:")[1].split()[0])

    def descriptors():
        return len(os.listdir("/proc/%s/fd" % pid))

    # Reads nothing, with a small buffer, so that most of it has to wait.
    deaf = """
import socket, sys, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
s.connect(("10.77.1.1", %d))
print("up", flush=True)
time.sleep(600)
""" % TCP
    live = """
import socket
s = socket.create_connection(("10.77.2.1", %d))
print("up", flush=True)
while True:
    data = s.recv(1000)
    if not data:
        print("cut", flush=True)
        break
    s.sendall(b'{"Type":"Heartbeat"}' * data.count(b"heartbeat"))
""" % TCP
    inside = ["ip", "netns", "exec", there, sys.executable, "-c"]
    before = descriptors(), resident()
    devices = [subprocess.Popen(inside + [code], stdout=subprocess.PIPE, text=True) for code in (deaf, live)]
    for device in devices:
        assert device.stdout.readline() == "up\n"
    with socket.socket(socket.AF_UNIX) as c:
        c.connect(control)
        lines = c.makefile("rw")
        # Asked in parts, since a request has a limit of its own; not waited for, since nothing goes out.
        text = "x" * 60_000
        for n in range(35):
            lines.write(json.dumps({"id": n, "op": "send", "device": "10.77.1.2", "text": text}) + "\n")
        lines.flush()
        time.sleep(1)
        stats = json.loads(subprocess.check_output([gateway, "stats", "--json", "--control", control]))
        waiting = stats["memory"]["outboxes_bytes"]
        say("%d KiB wait to be sent; the cable is pulled" % (waiting >> 10))
        during = descriptors(), resident()
        subprocess.check_call(["ip", "-n", there, "link", "set", "d1", "down"])
        pulled = time.monotonic()
        end = None
        while end is None and time.monotonic() < pulled + 60:
            time.sleep(0.2)
            for line in open(events):
                event = json.loads(line) if line.endswith("\n") else {}
                if event.get("event") == "disconnect" and event["ip"] == "10.77.1.2":
                    end = event
        took = time.monotonic() - pulled
        if end is None:
            say("WRONG: the device was never found dead")
            return False
        say("%.1f s later: %s, %s bytes were not sent" % (took, end["reason"], end.get("unsent_bytes")))
    time.sleep(1)
    after = descriptors(), resident()
    say("descriptors and RSS in KiB: before %s %s, while it waits %s %s, after %s %s" % (before + during + after))
    left = subprocess.check_output(["ip", "netns", "exec", here, "ss", "-Htn", "dst", "10.77.1.2"], text=True).strip()
    say("what the kernel still holds for it: %s" % (left or "nothing"))
    good = devices[1].poll() is None and waiting > 1 << 20 and end["reason"] in ("stalled", "silent") and took < 45
    good &= not left and after[0] == during[0] - 1
    # The reader of events may be told of others, never of the one that lives.
    good &= not any('"disconnect"' in line and '"10.77.2.2"' in line for line in open(events))
    for device in devices:
        device.kill()
        device.wait()
    return good


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

#!/usr/bin/env python3
"""A first device for a pulsegate gateway, to read and to imitate. Python 3.7 or later, nothing else."""
import argparse, base64, json, os, random, select, socket, sys, time
BEAT = b"heartbeat"
QUIET = 0.3  # seconds without a byte after which what was held counts as a whole command
PATIENCE = 30  # seconds without a beat after which the gateway counts as gone

def discover(udp_port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        udp.settimeout(1)
        for target in "255.255.255.255", "127.0.0.1":
            try:
                udp.sendto(b"where are you?", (target, udp_port))  # any datagram will do
            except OSError: pass  # no network here can carry a broadcast: this machine can still be asked
        try:
            answer, (host, _) = udp.recvfrom(64)
        except socket.timeout:
            raise OSError(f"no gateway answered on UDP port {udp_port}; name its HOST") from None
        return host  # the answer comes from the gateway's own address

def talk(tcp, options):
    """One connection, from the first message until the gateway closes it. Any failure is an OSError."""
    def send(kind, **members):  # objects go back to back: the brace that closes one is all the framing there is
        tcp.sendall(json.dumps({"Type": kind, **members}, separators=(",", ":")).encode())

    picture = {"Picture": base64.b64encode(os.urandom(options.picture)).decode()} if options.picture else {}
    send("Project", Name="device.py", Version="1.0")
    send("Status", State="ready", **picture)
    held, heard, report_at = b"", time.monotonic(), time.monotonic()
    while True:
        now = time.monotonic()
        if now >= report_at:
            send("Performance", UptimeSeconds=round(now, 1))
            report_at = now + options.interval
        data, wake_at = None, min(report_at, heard + (QUIET if held and not options.terminator else PATIENCE))
        if select.select([tcp], [], [], max(0, wake_at - now))[0]:
            data, heard = tcp.recv(65536), time.monotonic()
        elif time.monotonic() - heard >= PATIENCE:  # one that lost its power says no goodbye
            raise OSError("the gateway fell silent")
        # Beats and commands are bare text, cut and glued as the network likes: "hea" + "rtbeat", "rebootheartbeat".
        # A terminator, which gateway and device agree on, ends each of them.
        *commands, held = (held + (data or b"")).split(options.terminator or BEAT)
        if options.terminator:
            beats, commands = commands.count(BEAT), [line for line in commands if line != BEAT]
        else:
            # Look for the beat in all that is held, not in one read. The text before a beat is a whole command, for the
            # gateway never puts a beat inside one. The text behind it waits for more bytes or for quiet.
            beats = len(commands)
            if data == b"" or time.monotonic() - heard >= QUIET:
                commands, held = commands + [held], b""
        for _ in range(beats):  # answer every beat, for each has cost a credit
            send("Heartbeat")
        if len(held) > 65536:
            raise OSError("the gateway sent a command that does not end")
        for command in filter(None, (text.strip().decode(errors="replace") for text in commands)):
            print(command, flush=True)
            send("Status", State="did " + command, **picture)
        if data == b"":
            raise OSError("the gateway closed the connection")

def main(options):
    pause = 1
    while True:
        started = time.monotonic()
        try:
            host = options.host or discover(options.udp_port)
            # The timeout bounds every send, too. An object sent in part cannot be resumed: connect anew.
            with socket.create_connection((host, options.port), timeout=10) as tcp:
                talk(tcp, options)
        except OSError as error:
            # Back off, and out of step: a thousand devices must not all return in the second their gateway does.
            pause = 1 if time.monotonic() - started > 30 else pause
            wait, pause = pause * random.uniform(0.5, 1), min(pause * 2, 30)
            print(f"device: {error.strerror or error}; next try in {wait:.1f} s", file=sys.stderr, flush=True)
            time.sleep(wait)
parser = argparse.ArgumentParser(description="A device: sends reports, answers beats, prints commands.")
parser.add_argument("host", nargs="?", help="the gateway's address; found by broadcast if absent")
parser.add_argument("--port", type=int, default=5556, help="its TCP port (%(default)s)")
parser.add_argument("--udp-port", type=int, default=5555, help="for finding it (%(default)s)")
parser.add_argument("--interval", type=float, default=5, help="seconds between Performance messages (%(default)s)")
parser.add_argument("--terminator", type=lambda text: text.encode().decode("unicode_escape").encode("latin-1"),
                    default=b"", help=r"the gateway's terminator, such as '\n'; recommended (none)")
parser.add_argument("--picture", type=int, default=0, metavar="BYTES", help="of picture in each Status (none)")
try:
    main(parser.parse_args())
except KeyboardInterrupt:
    pass

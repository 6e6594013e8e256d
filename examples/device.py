#!/usr/bin/env python3
"""A first device for a pulsegate gateway, to read and to imitate. Python 3.7 or later, nothing else."""
import argparse, base64, functools, json, os, random, re, select, socket, sys, time

BEAT = b"heartbeat"
QUIET = 0.3  # seconds without a byte after which what was held counts as a whole command

log = functools.partial(print, "device:", file=sys.stderr, flush=True)

def port(text):
    if 0 < int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text} is no port")

def address(text):
    match = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^:\[\]]+))(?::(\d+))?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST[:PORT]; an IPv6 address goes in brackets")
    return match[1] or match[2], match[3] and port(match[3])

def discover(udp_port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        udp.settimeout(1)
        try:
            udp.sendto(b"where are you?", ("255.255.255.255", udp_port))  # any datagram will do
        except OSError as error:  # ENETUNREACH where no network can carry a broadcast
            log(f"cannot broadcast ({error.strerror}), asking 127.0.0.1 only; a gateway elsewhere must be named: HOST")
            udp.sendto(b"where are you?", ("127.0.0.1", udp_port))
        try:
            answer, (host, _) = udp.recvfrom(64)
        except socket.timeout:
            raise OSError(f"no gateway answered on UDP port {udp_port}") from None
        if answer != b"udp responsed":
            raise OSError(f"{host} answered on UDP port {udp_port}, but not as a gateway does")
        return host  # the answer's source is the gateway's address

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
            report_at = float("inf") if options.once else now + max(options.interval, 0.1)
        data, wake_at = None, min(report_at, heard + (QUIET if held else options.patience))
        if select.select([tcp], [], [], max(0, wake_at - time.monotonic()))[0]:
            data, heard = tcp.recv(65536), time.monotonic()
        elif time.monotonic() - heard >= options.patience:  # one that lost its power says no goodbye
            raise OSError("the gateway fell silent")
        # Beats and commands are bare text, cut and glued as the network likes: "hea" + "rtbeat", "rebootheartbeat".
        # So look for the word in all that is held, not in one read. What stands before a beat is whole, for no beat
        # is ever put inside a command. What follows, a command or half a beat, waits for more bytes or for quiet.
        *commands, held = (held + (data or b"")).split(BEAT)
        for _ in commands:  # one beat each; answer every one, for each has cost a credit
            send("Heartbeat")
        if data == b"" or time.monotonic() - heard >= QUIET or len(held) > 65536:
            commands, held = commands + [held], b""
        for command in filter(None, (text.strip().decode(errors="replace") for text in commands)):
            print(command, flush=True)
            send("Status", State="did " + command, **picture)
        if data == b"":
            return

def main(options):
    pause = 1
    while True:
        started, connected, trouble = time.monotonic(), False, "the gateway closed the connection"
        try:
            host, tcp_port = options.gateway or (discover(options.udp_port), None)
            # The timeout bounds every send, too. An object sent in part cannot be resumed: connect anew.
            with socket.create_connection((host, tcp_port or options.tcp_port), timeout=10) as tcp:
                connected = True
                talk(tcp, options)
        except OSError as error:
            trouble = error.strerror or error
        if options.once and connected:
            return log(trouble)
        # Back off, and out of step: a thousand devices must not all return in the second their gateway does.
        pause = 1 if connected and time.monotonic() - started > 30 else pause
        wait, pause = pause * random.uniform(0.5, 1), min(pause * 2, 30)
        log(f"{trouble}; next try in {wait:.1f} s")
        time.sleep(wait)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A simulated device: reports, answers beats, prints commands.")
    parser.add_argument("gateway", nargs="?", type=address, metavar="HOST[:PORT]", help="found by broadcast if absent")
    parser.add_argument("--interval", type=float, default=5, metavar="SECONDS", help="between Performance messages (5)")
    parser.add_argument("--picture", type=int, default=0, metavar="BYTES", help="of picture in each Status (none)")
    parser.add_argument("--patience", type=float, default=30, metavar="SECONDS", help="without a beat: reconnect (30)")
    parser.add_argument("--once", action="store_true", help="one of each message; end when the gateway closes")
    parser.add_argument("--udp-port", type=port, default=5555, help="for discovery (5555)")
    parser.add_argument("--tcp-port", type=port, default=5556, help="unless given with HOST (5556)")
    try:
        sys.stdout.reconfigure(errors="replace")
        main(parser.parse_args())
    except KeyboardInterrupt:
        pass
    except (ValueError, OverflowError) as error:  # an argument out of range
        sys.exit(f"device: {error}")

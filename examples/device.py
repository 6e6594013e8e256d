#!/usr/bin/env python3
"""A first device for a pulsegate gateway, to read and to imitate. Python 3.7 or later, nothing else."""
import argparse, base64, hashlib, json, os, random, select, socket, sys, time
BEAT = b"heartbeat"
QUIET = 0.3  # seconds without a byte after which the held text counts as a whole command
SILENCE = 30  # seconds without a beat after which the gateway counts as gone
PIECE = 32768  # bytes of a file in one object
PIECE_TIMEOUT = 5  # seconds after which the device asks for a piece again
OFFER_TIMEOUT = 30  # seconds after which it offers a file again: the service for files may start later

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

def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 16), b""):
            digest.update(block)
    return digest.hexdigest()

def sync(path):
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)

class Files:
    """Files in pieces (docs/protocol.md). The side that wants a file asks for each piece, so a break costs one piece."""
    def __init__(self, options):
        self.source, self.directory = options.offer, options.directory
        self.name = os.path.basename(options.offer or "")
        self.want = None  # name, size and hash of the file that comes
        self.offset = self.asked = self.offered = 0  # its stored bytes, and the times of the last request and offer

    def connected(self, send):
        self.send, self.want = send, None  # the gateway offers its file again, and so does the device
        self.offer()

    def offer(self):
        self.offered = time.monotonic()
        if self.source:
            size, digest = os.path.getsize(self.source), sha256(self.source)
            self.send("File", Op="offer", Name=self.name, Size=size, Sha256=digest)

    def tick(self, now):
        if self.want and now - self.asked >= PIECE_TIMEOUT:
            self.ask()
        if now - self.offered >= OFFER_TIMEOUT:
            self.offer()

    def handle(self, text):
        """Handles a command. Returns whether it belongs to a file."""
        try:
            command = json.loads(text)
            if command["Type"] != "File":
                return False
            {"get": self.on_get, "done": self.on_end, "failed": self.on_end, "refuse": self.on_end,
             "offer": self.on_offer, "data": self.on_data}[command["Op"]](command)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
            return False  # no object, or not with these members
        return True

    # A file that the device has.
    def on_get(self, get):
        if self.source and get["Name"] == self.name and 0 <= get["Offset"] < os.path.getsize(self.source):
            self.offered = time.monotonic()
            with open(self.source, "rb") as file:
                file.seek(get["Offset"])
                data = base64.b64encode(file.read(max(0, min(get["Length"], PIECE)))).decode()
            self.send("File", Op="data", Name=self.name, Offset=get["Offset"], Data=data)

    def on_end(self, end):
        if self.source and end["Name"] == self.name:
            print("sent:" if end["Op"] == "done" else "not sent:", self.name, end.get("Reason", ""), flush=True)
            self.source = None

    # A file that the gateway has.
    def on_offer(self, offer):
        name, size, digest = offer["Name"], int(offer["Size"]), offer.get("Sha256")
        inside = name.isprintable() and "/" not in name and not name.startswith(".") and 0 < len(name.encode()) <= 128
        busy = self.want and self.want[0] != name
        if not self.directory or not inside or busy:
            self.send("File", Op="refuse", Name=name, Reason="name" if not inside else "busy" if busy else "quota")
            return
        self.want, self.path = (name, size, digest), os.path.join(self.directory, name)
        self.part = self.path + ".part"
        try:
            if os.path.isfile(self.path) and sha256(self.path) == digest:
                self.end("done")  # the `done` of an earlier connection was lost
                return
            # The hash is checked at the end. Without a hash, old bytes may be those of another file.
            self.offset = os.path.getsize(self.part) if digest and os.path.isfile(self.part) else 0
            self.offset = self.offset if self.offset <= size else 0
            with open(self.part, "ab") as file:
                file.truncate(self.offset)
        except OSError:
            self.end("failed", Reason="full")
        else:
            self.ask()

    def ask(self):
        self.asked = time.monotonic()
        name, size, digest = self.want
        if self.offset < size:
            self.send("File", Op="get", Name=name, Offset=self.offset, Length=min(size - self.offset, PIECE))
        elif digest and sha256(self.part) != digest:
            os.remove(self.part)
            self.end("failed", Reason="sha256")
        else:
            sync(self.part)  # first the bytes, then their name: a power failure leaves no file of zeros
            os.replace(self.part, self.path)
            sync(self.directory)
            self.end("done")

    def on_data(self, data):
        piece = base64.b64decode(data["Data"], validate=True)
        asked = self.want and (data["Name"], data["Offset"]) == (self.want[0], self.offset)
        if not asked or len(piece) > self.want[1] - self.offset:
            return  # the device asked for no such piece
        try:
            with open(self.part, "ab") as file:
                file.write(piece)
        except OSError:
            self.end("failed", Reason="full")
        else:
            self.offset += len(piece)
            self.ask()

    def end(self, op, **reason):
        name, self.want = self.want[0], None
        print("received:" if op == "done" else "not received:", name, *reason.values(), flush=True)
        self.send("File", Op=op, Name=name, **reason)

def talk(tcp, options, files):
    """Serves one connection, from the first message until the gateway closes it. Any failure is an OSError."""
    def send(kind, **members):  # objects go back to back: the brace that closes an object is all the framing there is
        tcp.sendall(json.dumps({"Type": kind, "Id": options.name, **members}, separators=(",", ":")).encode())

    picture = {"Picture": base64.b64encode(os.urandom(options.picture)).decode()} if options.picture else {}
    send("Project", Name="device.py", Version="1.0")
    send("Status", State="ready", **picture)
    files.connected(send)
    held, heard, report_at = b"", time.monotonic(), time.monotonic()
    while True:
        now = time.monotonic()
        if now >= report_at:
            send("Performance", UptimeSeconds=round(now, 1))
            report_at = now + options.interval
        files.tick(now)
        data, wake_at = None, min(report_at, now + 1, heard + (QUIET if held and not options.terminator else SILENCE))
        if select.select([tcp], [], [], max(0, wake_at - now))[0]:
            data, heard = tcp.recv(65536), time.monotonic()
        elif time.monotonic() - heard >= SILENCE:  # a gateway that lost its power closes no connection
            raise OSError("the gateway fell silent")
        # Beats and commands are bare text, cut and glued as the network likes: "hea" + "rtbeat", "rebootheartbeat".
        # A terminator, which gateway and device agree on, ends each of them.
        *commands, held = (held + (data or b"")).split(options.terminator or BEAT)
        if options.terminator:
            beats, commands = commands.count(BEAT), [line for line in commands if line != BEAT]
        else:
# Search the beat in all received bytes, not in one read. The text before a beat is a whole command, for the
            # gateway never puts a beat inside one. The text behind it waits for more bytes or for quiet.
            beats = len(commands)
            if data == b"" or time.monotonic() - heard >= QUIET:
                commands, held = commands + [held], b""
        for _ in range(beats):  # answer every beat, for each has cost a credit
            send("Heartbeat")
        if len(held) > 65536:
            raise OSError("the gateway sent a command that does not end")
        for command in filter(None, (text.strip().decode(errors="replace") for text in commands)):
            if not files.handle(command):
                print(command, flush=True)
                send("Status", State="did " + command, **picture)
        if data == b"":
            raise OSError("the gateway closed the connection")

def main(options):
    pause, files = 1, Files(options)
    while True:
        started = time.monotonic()
        try:
            host = options.host or discover(options.udp_port)
            # The timeout bounds every send, too. An object sent in part cannot be resumed: connect anew.
            with socket.create_connection((host, options.port), timeout=10) as tcp:
                talk(tcp, options, files)
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
parser.add_argument("--name", default=socket.gethostname(), help="the member Id of each object (%(default)s)")
parser.add_argument("--interval", type=float, default=5, help="seconds between Performance messages (%(default)s)")
parser.add_argument("--terminator", type=lambda text: text.encode().decode("unicode_escape").encode("latin-1"),
                    default=b"", help=r"the gateway's terminator, such as '\n'; recommended (none)")
parser.add_argument("--picture", type=int, default=0, metavar="BYTES", help="of picture in each Status (none)")
parser.add_argument("--offer", metavar="FILE", help="offer this file to the gateway")
parser.add_argument("--directory", help="take files of the gateway into this directory")
try:
    options = parser.parse_args()
    if (options.offer or options.directory) and not options.terminator:
        parser.error("files need --terminator: a piece of a file may contain any text")
    main(options)
except KeyboardInterrupt:
    pass

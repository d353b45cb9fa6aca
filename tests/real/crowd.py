"""Many event streams of one pollcast, spread over processes, and an API that answers its polls: for the scripts beside this
one that measure. Python's own library alone."""
import asyncio, contextlib, http.client, json, multiprocessing, os, resource, subprocess, sys, time

from ports import free_port

# What one process of clients holds at most: limits of descriptors are often 20,000 a process.
STREAMS_OF_A_PROCESS = 2500
# Streams of one process that are opened at a time.
OPENING = 50


def raise_limit():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Api(asyncio.Protocol):
    """Answers each GET at once; the content of a path is another one every `changes_s` seconds, at times of its own."""

    changes_s = 0.0

    def connection_made(self, transport):
        self.transport, self.head = transport, b""

    def data_received(self, data):
        *heads, self.head = (self.head + data).split(b"\r\n\r\n")
        for head in heads:
            path = head.split(b" ", 2)[1]
            n = int(time.time() / Api.changes_s + hash(path) % 997 / 997) if Api.changes_s else 0
            body = b'{"path":"%s","value":%d}' % (path, n)
            answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
            self.transport.write(answer % (len(body), body))


def _serve(port, changes_s, ready):
    raise_limit()
    Api.changes_s = changes_s

    async def serve():
        server = await asyncio.get_running_loop().create_server(Api, "127.0.0.1", port, backlog=4096)
        ready.set()
        await server.serve_forever()

    asyncio.run(serve())


def start_api(changes_s=0.0):
    """Starts an API in a process of its own. Returns its port."""
    port, ready = free_port(), multiprocessing.Event()
    multiprocessing.Process(target=_serve, args=(port, changes_s, ready), daemon=True).start()
    ready.wait()
    return port


async def _follow(port, path, counts, opening):
    """Follows a path as a browser does: when the stream ends it comes again."""
    while True:
        async with opening:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode())
            seen = b""
            while b"data:" not in seen:
                more = await reader.read(4096)
                if not more:
                    sys.exit(f"{path} was refused: {seen[:300]!r}")
                seen += more
        counts["open"] += 1
        rest = b""
        while more := await reader.read(65536):
            counts["events"] += more.count(b"\ndata:") + more.startswith(b"data:")
            rest = more
        writer.close()
        counts["open"] -= 1
        counts["ended"].append((path, b"event: bye" in rest))
        # Not the time that the stream says: what is measured is who ends, not who waits.
        await asyncio.sleep(0.5)


def _client(port, paths, pipe):
    raise_limit()
    counts = {"open": 0, "events": 0, "ended": []}

    async def run():
        opening = asyncio.Semaphore(OPENING)
        tasks = [asyncio.create_task(_follow(port, path, counts, opening)) for path in paths]
        asyncio.get_running_loop().add_reader(pipe.fileno(), lambda: (pipe.recv(), pipe.send(counts)))
        await asyncio.gather(*tasks)

    asyncio.run(run())


class Crowd:
    """A stream of each of these paths."""

    def __init__(self, port, paths):
        self.pipes, self.size = [], len(paths)
        for at in range(0, len(paths), STREAMS_OF_A_PROCESS):
            ours, theirs = multiprocessing.Pipe()
            part = paths[at:at + STREAMS_OF_A_PROCESS]
            multiprocessing.Process(target=_client, args=(port, part, theirs), daemon=True).start()
            self.pipes.append(ours)

    def counts(self):
        """Streams that are open, events that came, and the streams that ended so far: (path, whether it said bye)."""
        for pipe in self.pipes:
            pipe.send(None)
        parts = [pipe.recv() for pipe in self.pipes]
        ended = [end for part in parts for end in part["ended"]]
        return sum(part["open"] for part in parts), sum(part["events"] for part in parts), ended

    def await_all(self, timeout_s=300):
        end = time.monotonic() + timeout_s
        while (is_open := self.counts()[0]) < self.size:
            if time.monotonic() > end:
                sys.exit(f"{is_open} of {self.size} streams are open after {timeout_s} s")
            time.sleep(0.2)


@contextlib.contextmanager
def pollcast(program, file, admin_port):
    process = subprocess.Popen([program, "run", "--config", file], stderr=subprocess.DEVNULL, preexec_fn=raise_limit)
    try:
        for _ in range(500):
            with contextlib.suppress(OSError):
                ask(admin_port, "GET", "/ready")
                break
            if process.poll() is not None:
                sys.exit("pollcast ended at its start")
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


def ask(port, method, path, **headers):
    """Returns status and JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, json.loads(body) if body[:1] == b"{" else None


def cpu_s(process, thread=None):
    """Seconds of CPU that the process has had, or only its threads of this name."""
    if thread is None:
        return _cpu_s(f"/proc/{process.pid}/stat")
    tasks = f"/proc/{process.pid}/task"
    return sum(_cpu_s(f"{tasks}/{task}/stat") for task in os.listdir(tasks) if _name(f"{tasks}/{task}/comm") == thread)


def _name(path):
    with open(path, encoding="ascii") as comm:
        return comm.read().strip()


def _cpu_s(path):
    with open(path, encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

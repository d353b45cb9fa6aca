"""Starts programs and pollcast in front of them, and compares what a client gets directly and through pollcast."""
import contextlib, json, os, queue, signal, subprocess, sys, threading, time

import httpx
from httpx_sse import connect_sse
from ports import free_port

# What a change may take to arrive: an interval, and a machine that does other things.
CHANGE_S = 15
START_S = 60

# The configuration of README's five minutes.
FIVE_MINUTES = """
listeners:
  - address: 127.0.0.1:{port}
upstreams:
  api:
    servers: ["127.0.0.1:{api}"]
passthrough: api
routes:
  - path: /{{*rest}}
    upstream: api
    poll: {{ interval: 1s }}
"""


@contextlib.contextmanager
def process(*command, cwd=None, log, **env):
    """Runs a command, and ends it and what it started."""
    with open(log, "wb") as out:
        child = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                 start_new_session=True, env={**os.environ, **env})
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)


def await_answer(url, **options):
    """Waits until the program answers anything but a failure of its own."""
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=5, **options).status_code < 500:
                return
        time.sleep(0.2)
    raise RuntimeError(f"{url} did not answer within {START_S} s")


class Events:
    """An event stream, read with httpx-sse in the background."""

    def __init__(self, url, **options):
        self.said, self.error = queue.Queue(), None
        threading.Thread(target=self._read, args=(url, options), daemon=True).start()

    def _read(self, url, options):
        try:
            with httpx.Client(timeout=60) as client, connect_sse(client, "GET", url, **options) as source:
                for event in source.iter_sse():
                    self.said.put(event)
        except Exception as error:  # whatever ends the stream is told by the check that waits for it
            self.said.put(error)

    def until(self, is_it):
        """The first event that is the one, or what came in its place."""
        end, seen = time.monotonic() + CHANGE_S, []
        while (left := end - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                event = self.said.get(timeout=left)
                if isinstance(event, Exception):
                    raise event
                if is_it(event.data):
                    return event
                seen.append(event.data[:120])
        raise AssertionError(f"not told within {CHANGE_S} s, but {seen}")


class Table:
    """The checks of a run, printed as they are made."""

    def __init__(self):
        self.passed, self.failed = 0, []

    def check(self, name, does):
        try:
            does()
        except Exception as error:  # a check that fails in any way has failed
            self.failed.append(name)
            print(f"FAIL  {name}: {type(error).__name__}: {str(error)[:600]}", flush=True)
        else:
            self.passed += 1
            print(f"pass  {name}", flush=True)


class Front:
    """pollcast in front of a program."""

    def __init__(self, api, port, table, name):
        self.api, self.url, self.table, self.name = f"http://127.0.0.1:{api}", f"http://127.0.0.1:{port}", table, name

    def check(self, what, does):
        self.table.check(f"{self.name}: {what}", does)

    def same(self, path, read=lambda response: response.content, **options):
        """The answer to a GET is the same directly and through pollcast: status, type and what is read of it."""
        direct = httpx.get(self.api + path, timeout=20, **options)
        through = httpx.get(self.url + path, timeout=20, **options)
        for part in (lambda r: r.status_code, lambda r: r.headers.get("content-type"), read):
            assert part(through) == part(direct), f"{path}: {part(through)!r} and not {part(direct)!r}"
        return through

    def follows(self, path, change, is_it, **options):
        """A stream of this path says its state at once, and the change when it is made."""
        events = Events(self.url + path, **options)
        events.until(lambda data: data.startswith(("{", "[")))
        change()
        events.until(is_it)


def probe(binary, path, probed, headers=()):
    """What the probe says of these paths, and the file that it wrote beside the configuration, if it wrote one."""
    written = path.replace(".yaml", ".suggested.yaml")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(written)
    probes = [part for each in probed for part in ("--probe", each)]
    probes += [part for each in headers for part in ("--header", each)]
    done = subprocess.run([binary, "check", "--config", path, *probes, "--polls", "3", "--every", "500ms", "--write", written],
                          capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr, written


def suggested(binary, path, probed, headers):
    """The configuration of this file with what the probe suggests for these paths of the program."""
    said, written = probe(binary, path, probed, headers)
    assert os.path.exists(written), f"the probe wrote nothing: {said[-2000:]}"
    checked = subprocess.run([binary, "check", "--config", written], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, f"what the probe wrote is refused: {checked.stdout} {checked.stderr}"
    return written


def suggests_nothing(binary, home, yaml, api, path):
    """The probe says of this path that there is nothing to push, and writes no file."""
    config = os.path.join(home, "probe.yaml")
    with open(config, "w") as file:
        file.write(yaml.format(port=free_port(), api=api))
    said, written = probe(binary, config, [path])
    assert "No route is suggested" in said and not os.path.exists(written), said[-2000:]


@contextlib.contextmanager
def pollcast(binary, home, yaml, api, table, name, probed=(), headers=()):
    """Starts pollcast with this configuration, and with the probe's suggestion for `probed` where paths are given."""
    port = free_port()
    path = os.path.join(home, f"{name.split()[0]}.yaml")
    with open(path, "w") as file:
        file.write(yaml.format(port=port, api=api))
    if probed:
        path = suggested(binary, path, probed, headers)
    log = os.path.join(home, f"{name.split()[0]}.pollcast.log")
    with process(binary, "run", "--config", path, log=log):
        await_answer(f"http://127.0.0.1:{port}/")
        yield Front(api, port, table, name)

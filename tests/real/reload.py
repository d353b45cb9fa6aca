#!/usr/bin/env python3
"""How long a reload takes with many streams and routes, and how many streams it ends.

    tests/real/reload.py PROGRAM [STREAMS] [ROUTES]

PROGRAM is a built pollcast. Every second route gets another interval, one gets another meaning, one is added. Prints the
milliseconds that the process took and that its caller waited, its CPU time, and the streams that ended: those of the one
route. Needs nothing but Python's own library, and as many open files as STREAMS times two.
"""

import asyncio
import http.client
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PROXY, ADMIN, LEGACY = 18180, 18190, 18189


class Legacy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b'{"n":1}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def configuration(routes, changed):
    lines = [
        f"listeners: [{{address: '127.0.0.1:{PROXY}'}}]",
        f"admin: {{address: '127.0.0.1:{ADMIN}'}}",
        f"upstreams: {{legacy: {{servers: ['127.0.0.1:{LEGACY}']}}}}",
        "log: {access: false}",
        "routes:",
    ]
    for n in range(routes + changed):
        more = ", heartbeat: 9s" if changed and n % 2 else ""
        accept = ", accept: text/plain" if changed and n == 0 else ""
        lines.append(f"- {{path: /r{n}, upstream: legacy, poll: {{interval: 1m{accept}}}{more}}}")
    return "\n".join(lines) + "\n"


async def stream(path, opened, ended):
    reader, writer = await asyncio.open_connection("127.0.0.1", PROXY)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode())
    seen = b""
    while b"data:" not in seen:
        seen += await reader.read(4096)
    opened.append(path)
    while await reader.read(4096):
        pass
    ended.append(path)


def cpu(process):
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def reload():
    admin = http.client.HTTPConnection("127.0.0.1", ADMIN, timeout=60)
    began = time.monotonic()
    admin.request("POST", "/-/reload")
    report = json.loads(admin.getresponse().read())
    return report, (time.monotonic() - began) * 1000


async def measure(process, file, streams, routes):
    opened, ended = [], []
    tasks = []
    for n in range(streams):
        tasks.append(asyncio.create_task(stream(f"/r{n % routes}", opened, ended)))
        if n % 100 == 99:
            while len(opened) < n - 100:
                await asyncio.sleep(0.01)
    while len(opened) < streams:
        await asyncio.sleep(0.01)
    with open(file, "w", encoding="ascii") as text:
        text.write(configuration(routes, 1))
    before = cpu(process)
    report, waited = await asyncio.to_thread(reload)
    await asyncio.sleep(2)
    print(
        f"{streams} streams, {routes} routes: {report['result']}, {report['took_ms']:.1f} ms in the process, "
        f"{waited:.1f} ms for the caller, {cpu(process) - before:.2f} s of CPU in 2 s; {len(ended)} streams ended "
        f"({report['ended']['followers']} by its own count), all of the changed route: {set(ended) <= {'/r0'}}"
    )
    for task in tasks:
        task.cancel()


def main():
    program = sys.argv[1]
    streams, routes = (int(n) for n in (sys.argv[2:] + ["1000", "1000"][len(sys.argv) - 2 :]))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    legacy = ThreadingHTTPServer(("127.0.0.1", LEGACY), Legacy)
    threading.Thread(target=legacy.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "pollcast.yaml")
        with open(file, "w", encoding="ascii") as text:
            text.write(configuration(routes, 0))
        process = subprocess.Popen([program, "run", "--config", file], stderr=subprocess.DEVNULL)
        try:
            for _ in range(500):
                try:
                    http.client.HTTPConnection("127.0.0.1", ADMIN).request("GET", "/ready")
                    break
                except OSError:
                    time.sleep(0.02)
            asyncio.run(measure(process, file, streams, routes))
        finally:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Reads pollcast with the client libraries that people use: httpx-sse and websockets (Python), eventsource and ws (npm).

`tests/real/run` installs them and starts this file: clients.py BINARY FOLDER
Exit status 0: each library saw each state once, in order, and nothing else. An API of this script's own is polled; all
traffic stays on 127.0.0.1.
"""
import http.server, json, os, subprocess, sys, threading, time

from ports import await_listener, free_port

BINARY, HOME = sys.argv[1], sys.argv[2]
STATES = 5
# Longer than two heartbeats of a silent stream.
SILENCE_S = 3

HTTPX_SSE = """
import json, sys, httpx
from httpx_sse import connect_sse
with httpx.Client(timeout=20) as client, connect_sse(client, "GET", sys.argv[1]) as source:
    for event in source.iter_sse():
        print(json.dumps({"event": event.event, "data": event.data, "id": event.id}), flush=True)
"""

WEBSOCKETS = """
import json, sys
from websockets.sync.client import connect
with connect(sys.argv[1]) as socket:
    for message in socket:
        print(json.dumps({"event": "message", "data": message}), flush=True)
"""

EVENTSOURCE = """
const { EventSource } = require("eventsource");
const source = new EventSource(process.argv[2]);
source.onmessage = (e) => console.log(JSON.stringify({ event: "message", data: e.data, id: e.lastEventId }));
source.onerror = (e) => { console.log(JSON.stringify({ event: "error", data: String(e.message) })); };
"""

WS = """
const socket = new (require("ws"))(process.argv[2]);
socket.on("message", (data) => console.log(JSON.stringify({ event: "message", data: data.toString() })));
socket.on("error", (e) => console.log(JSON.stringify({ event: "error", data: e.message })));
"""


class Api(http.server.BaseHTTPRequestHandler):
    """A document that the script changes, and the API's own event stream and refusal."""

    protocol_version = "HTTP/1.1"
    state = 0

    def do_GET(self):
        if self.path == "/own":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            try:
                for n in range(STATES):
                    self.wfile.write(b'id: %d\ndata: {"n":%d}\n\n' % (n, n))
                    self.wfile.flush()
                    time.sleep(0.3)
                time.sleep(30)
            except OSError:
                pass
            return
        body = json.dumps({"n": Api.state}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def start(binary, api):
    listen = free_port()
    path = os.path.join(HOME, "pollcast.yaml")
    with open(path, "w") as file:
        file.write(f"""listeners: [{{address: '127.0.0.1:{listen}'}}]
upstreams: {{api: {{servers: ['127.0.0.1:{api}']}}}}
passthrough: api
routes: [{{path: '/{{*rest}}', upstream: api, heartbeat: 1s, poll: {{interval: 200ms}}}}]
""")
    process = subprocess.Popen([binary, "run", "--config", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    await_listener(process, listen, "pollcast")
    return process, listen


def read(command, changes):
    """What a client prints while the states change, and for a silence behind them."""
    Api.state = 0
    client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=HOME)
    lines, first = [], threading.Event()

    def collect():
        for line in client.stdout:
            lines.append(json.loads(line))
            first.set()

    reader = threading.Thread(target=collect)
    reader.start()
    if not first.wait(15):
        client.kill()
        return [f"nothing came: {client.stderr.read()[-300:]}"]
    for n in range(1, STATES) if changes else []:
        Api.state = n
        time.sleep(0.6)
    time.sleep(SILENCE_S)
    client.kill()
    reader.join()
    return lines


def main():
    api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    process, listen = start(BINARY, api.server_address[1])
    url, ws = f"http://127.0.0.1:{listen}", f"ws://127.0.0.1:{listen}"
    clients = [("httpx-sse", [sys.executable, "-c", HTTPX_SSE], url), ("websockets", [sys.executable, "-c", WEBSOCKETS], ws),
               ("eventsource", ["node", "-e", EVENTSOURCE, "-"], url), ("ws", ["node", "-e", WS, "-"], ws)]
    failed = False
    try:
        for name, command, base in clients:
            paths = [("/doc", True)] + ([("/own", False)] if base == url else [])
            for path, changes in paths:
                seen = read(command + [base + path], changes)
                data = [json.loads(it["data"])["n"] if it.get("event") == "message" else it for it in seen if isinstance(it, dict)]
                good = data == list(range(STATES))
                failed |= not good
                print(("pass  " if good else "FAIL  ") + f"{name} {path}: {data if data else seen}", flush=True)
    finally:
        process.kill()
        api.shutdown()
    sys.exit(1 if failed else 0)


main()

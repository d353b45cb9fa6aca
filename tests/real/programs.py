#!/usr/bin/env python3
"""Real programs behind pollcast: their pages, logins, writes, native streams, and what pollcast pushes of them.

`tests/real/run` installs what is needed and starts this file: programs.py BINARY FOLDER [program ...]
Each program stands behind README's configuration of five minutes, a wide route, and then once more behind what
`pollcast check --probe` makes of that configuration when it has looked at some of the program's paths.
"""
import base64, contextlib, json, os, re, sqlite3, subprocess, sys, time, uuid

import httpx
from websockets.sync.client import connect

from harness import FIVE_MINUTES, CHANGE_S, Table, await_answer, free_port, pollcast, process, suggests_nothing

BINARY, HOME = sys.argv[1], sys.argv[2]
NODE = os.path.join(HOME, "node_modules", ".bin")
PYTHON = os.path.join(HOME, "python", "bin")


def log(name):
    return os.path.join(HOME, f"{name}.log")


def node(*command, **environment):
    """Runs a script of npm's packages to its end, and returns what it prints."""
    done = subprocess.run(["node", "-e", *command], cwd=HOME, capture_output=True, text=True, timeout=60,
                          env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr[-600:]
    return done.stdout


@contextlib.contextmanager
def json_server():
    """npm's json-server: lists and items with writes."""
    port, file = free_port(), os.path.join(HOME, "json-server.json")
    with open(file, "w") as out:
        json.dump({"posts": [{"id": 1, "title": "first"}], "profile": {"name": "typicode"}}, out)
    with process(f"{NODE}/json-server", "--host", "127.0.0.1", "--port", str(port), file, log=log("json-server")):
        yield port


def json_server_checks(f):
    f.check("pages and lists are the same", lambda: [f.same(p) for p in ("/", "/posts", "/posts/1", "/posts?id=1", "/none")])

    # Twice: json-server gives the free id again, and a resource is polled four times an interval for writes.
    def own_write():
        for n in range(2):
            made = httpx.post(f.url + "/posts", json={"title": f"n{n}"})
            assert made.status_code == 201, made
            titles = [p["title"] for p in httpx.get(f.url + "/posts").json()]
            assert f"n{n}" in titles, titles
            item = made.json()["id"]
            gone = httpx.delete(f"{f.url}/posts/{item}")
            assert gone.status_code == 200, f"{gone} {gone.text}"
            none = httpx.get(f"{f.url}/posts/{item}")
            assert none.status_code == 404, f"{none} {none.headers} {none.text}"
    f.check("a writer reads its own writes", own_write)

    def follow():
        f.follows("/posts", lambda: httpx.post(f.api + "/posts", json={"title": "pushed"}), lambda d: "pushed" in d)
    f.check("a write past pollcast is pushed to httpx-sse", follow)

    def eventsource():
        script = """
            const { EventSource } = require("eventsource");
            const source = new EventSource(process.env.URL);
            let first = true;
            source.onmessage = (event) => {
                if (event.data.includes("by eventsource")) { console.log("told"); process.exit(0); }
                if (first) fetch(process.env.API, { method: "PUT", headers: { "content-type": "application/json" },
                    body: JSON.stringify({ id: 1, title: "by eventsource" }) });
                first = false;
            };
            setTimeout(() => { console.error("not told"); process.exit(1); }, 20000);"""
        assert node(script, URL=f.url + "/posts/1", API=f.api + "/posts/1") == "told\n"
    f.check("npm's eventsource is told a write", eventsource)

    def websocket():
        with connect(f.url.replace("http", "ws", 1) + "/profile") as socket:
            assert json.loads(socket.recv(CHANGE_S))["name"] == "typicode"
            httpx.patch(f.url + "/profile", json={"name": "changed"})
            assert json.loads(socket.recv(CHANGE_S))["name"] == "changed"
    f.check("websockets is told a write", websocket)


@contextlib.contextmanager
def socket_io():
    """npm's Socket.IO, whose first GET of a session gives what no second GET gets."""
    port = free_port()
    script = """
        const server = require("http").createServer((_, answer) => answer.writeHead(404).end());
        require("socket.io")(server).on("connection", (s) => s.on("say", (text, done) => done("heard " + text)));
        server.listen(Number(process.env.PORT), "127.0.0.1");"""
    with process("node", "-e", script, cwd=HOME, log=log("socket.io"), PORT=str(port)):
        yield port


def socket_io_checks(f):
    for transports in ("polling", "websocket", "polling,websocket"):
        script = """
            const socket = require("socket.io-client")(process.env.URL, { transports: process.env.BY.split(",") });
            socket.on("connect", () => socket.emit("say", "hello", (answer) => { console.log(answer); process.exit(0); }));
            setTimeout(() => { console.error("not connected"); process.exit(1); }, 15000);"""

        def talk(by=transports):
            assert node(script, URL=f.url, BY=by) == "heard hello\n"
        f.check(f"a client connects by {transports}", talk)


@contextlib.contextmanager
def pouchdb():
    """npm's pouchdb-server: CouchDB's API with its change feeds."""
    port = free_port()
    with process(f"{NODE}/pouchdb-server", "--port", str(port), "--in-memory", "--no-stdout-logs", cwd=HOME,
                 log=log("pouchdb")):
        yield port


def pouchdb_checks(f):
    assert httpx.put(f.api + "/db", timeout=30).status_code == 201
    f.check("answers are the same", lambda: [f.same(p) for p in ("/", "/db/_all_docs", "/_all_dbs", "/db/none")])

    def revisions():
        tag = httpx.put(f.url + "/db/a", json={"n": 1}).json()["rev"]
        for n in range(2, 6):
            assert httpx.get(f.url + "/db/a").json() == {"_id": "a", "_rev": tag, "n": n - 1}
            put = httpx.put(f.url + "/db/a", json={"n": n, "_rev": tag})
            assert put.status_code == 201, put.text
            tag = put.json()["rev"]
        assert httpx.put(f.url + "/db/a", json={"n": 9, "_rev": "1-0"}).status_code == 409
    f.check("revisions read are revisions written", revisions)

    def long_poll():
        last = httpx.get(f.url + "/db/_changes").json()["last_seq"]
        began = time.monotonic()
        import threading
        threading.Timer(1.5, lambda: httpx.put(f.api + "/db/b", json={})).start()
        said = httpx.get(f"{f.url}/db/_changes?feed=longpoll&since={last}", timeout=20).json()
        assert [r["id"] for r in said["results"]] == ["b"] and time.monotonic() - began > 1, said
    f.check("its own long-poll waits and tells", long_poll)

    def continuous():
        # Asked for gzip, the server holds its lines back, with pollcast and without.
        plain = {"Accept-Encoding": "identity"}
        with httpx.stream("GET", f.url + "/db/_changes?feed=continuous", headers=plain, timeout=20) as answer:
            lines = (line for line in answer.iter_lines() if line.strip())
            assert json.loads(next(lines))["id"]
            httpx.put(f.api + "/db/c", json={}, timeout=20)
            assert any(json.loads(line)["id"] == "c" for line in lines)
    f.check("its own stream flows", continuous)
    f.check("a document is pushed", lambda: f.follows(
        "/db/followed", lambda: httpx.put(f.api + "/db/followed",
                                          json={"_rev": httpx.get(f.api + "/db/followed").json()["_rev"], "n": 2}),
        lambda d: json.loads(d)["n"] == 2) if httpx.put(f.api + "/db/followed", json={"n": 1}) else None)


@contextlib.contextmanager
def datasette():
    """PyPI's datasette: pages and JSON of a database that another program changes."""
    port, file = free_port(), os.path.join(HOME, f"datasette-{uuid.uuid4().hex}.db")
    base = sqlite3.connect(file)
    base.execute("create table prices (symbol text primary key, price real)")
    base.execute("insert into prices values ('ACME', 1.5)")
    base.commit()
    os.environ["DATASETTE_FILE"] = file
    with process(f"{PYTHON}/datasette", "serve", file, "--host", "127.0.0.1", "--port", str(port), "--cors",
                 log=log("datasette")):
        yield port
    os.unlink(file)


def datasette_checks(f):
    file = os.environ["DATASETTE_FILE"]
    base = os.path.basename(file)[:-3]
    table = f"/{base}/prices.json?_shape=array"
    # A page says how long its query took, and the address that it was asked by.
    text = lambda response: re.sub(r"[\d.]+ ?ms|127\.0\.0\.1:\d+", "", response.text)
    f.check("pages, tables and CSV are the same",
            lambda: [f.same(p, text) for p in ("/", f"/{base}", f"/{base}/prices", f"/{base}/prices.csv", table, "/-/none")])
    f.check("CORS is its own", lambda: f.same(table, lambda r: r.headers.get("access-control-allow-origin"),
                                              headers={"Origin": "http://site.test"}))

    def change():
        with sqlite3.connect(file) as changed:
            changed.execute("update prices set price = 2.5")
    f.check("a change of the database is pushed", lambda: f.follows(table, change, lambda d: json.loads(d)[0]["price"] == 2.5))
    f.check("a browser's page stays a page", lambda: f.same(
        f"/{base}/prices", text, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}))


@contextlib.contextmanager
def jupyter():
    """PyPI's jupyter-server: a login by cookies, writes with a token against forgery, kernels on WebSockets."""
    port, root = free_port(), os.path.join(HOME, "notebooks")
    os.makedirs(root, exist_ok=True)
    with process(f"{PYTHON}/jupyter-server", "--allow-root", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
                 "--IdentityProvider.token=letmein", f"--ServerApp.root_dir={root}", "--ServerApp.allow_remote_access=True",
                 log=log("jupyter"), JUPYTER_RUNTIME_DIR=os.path.join(HOME, "runtime")):
        yield port


def jupyter_checks(f):
    f.check("a stranger is told 403", lambda: f.same("/api/contents", lambda r: r.json().get("message")))
    browser = httpx.Client(base_url=f.url, timeout=30, follow_redirects=True)

    def login():
        page = browser.get("/login?next=%2Fapi%2Fcontents")
        token = browser.cookies.get("_xsrf")
        assert token, f"the login page set no cookie: {page.headers}"
        browser.post("/login", params={"next": "/api/contents"}, data={"password": "letmein", "_xsrf": token})
        assert browser.get("/api/contents").status_code == 200
    f.check("a browser logs in", login)

    def write():
        headers = {"X-XSRFToken": browser.cookies.get("_xsrf")}
        made = browser.put("/api/contents/a.txt", headers=headers, json={"type": "file", "format": "text", "content": "1"})
        assert made.status_code in (200, 201), made.text
        assert browser.get("/api/contents/a.txt").json()["content"] == "1"
        assert browser.delete("/api/contents/a.txt", headers=headers).status_code == 204
        assert browser.get("/api/contents/a.txt").status_code == 404
    f.check("it writes, and reads what it wrote", write)

    def kernel():
        by_token = {"Authorization": "token letmein"}
        kernel = httpx.post(f.url + "/api/kernels", headers=by_token, timeout=60).json()["id"]
        url = f"{f.url.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels"
        with connect(url, additional_headers=by_token) as socket:
            header = {"msg_id": "m", "msg_type": "execute_request", "session": "s", "username": "", "version": "5.3"}
            socket.send(json.dumps({"header": header, "parent_header": {}, "metadata": {}, "channel": "shell",
                                    "content": {"code": "6*7", "silent": False}}))
            end = time.monotonic() + 60
            while time.monotonic() < end:
                said = json.loads(socket.recv(60))
                if said["header"]["msg_type"] == "execute_result":
                    assert said["content"]["data"]["text/plain"] == "42"
                    return
        raise AssertionError("no result")
    f.check("a kernel answers on its own WebSocket", kernel)


@contextlib.contextmanager
def alertmanager():
    """Debian's Alertmanager: a list sorted by fingerprint."""
    port, config = free_port(), os.path.join(HOME, "alertmanager.yml")
    with open(config, "w") as out:
        out.write("route: {receiver: none, group_wait: 1s}\nreceivers: [{name: none}]\n")
    with process("prometheus-alertmanager", f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}",
                 "--cluster.listen-address=", f"--storage.path={HOME}/alertmanager", log=log("alertmanager")):
        yield port


def alertmanager_checks(f):
    def fire(base, name):
        said = httpx.post(base + "/api/v2/alerts", json=[{"labels": {"alertname": name}}])
        assert said.status_code == 200, said.text
    f.check("pages and lists are the same", lambda: [f.same(p) for p in ("/", "/-/ready", "/api/v2/receivers", "/none")])

    def own():
        fire(f.url, "own")
        names = [a["labels"]["alertname"] for a in httpx.get(f.url + "/api/v2/alerts").json()]
        assert "own" in names, names
    f.check("an alert that was sent is read", own)
    f.check("an alert is pushed", lambda: f.follows("/api/v2/alerts", lambda: fire(f.api, "pushed"), lambda d: "pushed" in d))


@contextlib.contextmanager
def nats():
    """Debian's nats-server: its monitoring pages."""
    port, clients = free_port(), free_port()
    with process("nats-server", "-a", "127.0.0.1", "-p", str(clients), "-m", str(port), log=log("nats")):
        os.environ["NATS_PORT"] = str(clients)
        yield port


def nats_checks(f):
    import socket

    # A page says when it was asked for, and a rule that leaves this out gives all of it in canonical form.
    def text(response):
        with contextlib.suppress(ValueError):
            return {name: value for name, value in response.json().items() if name != "now"}
        return re.sub(r'"now": "[^"]*"', "", response.text)
    f.check("pages are the same", lambda: [f.same(p, text) for p in ("/", "/routez", "/none")])
    f.check("JSONP is its own", lambda: f.same("/routez?callback=f", text))
    opened = []

    def client():
        opened.append(socket.create_connection(("127.0.0.1", int(os.environ["NATS_PORT"]))))
        opened[0].sendall(b'CONNECT {"name":"watched"}\r\nPING\r\n')
    f.check("a connection is pushed", lambda: f.follows("/connz", client, lambda d: "watched" in d))
    for each in opened:
        each.close()


@contextlib.contextmanager
def rabbitmq():
    """Debian's RabbitMQ: management by HTTP with Basic, and names with an escaped slash in paths."""
    port, amqp, home = free_port(), free_port(), os.path.join(HOME, "rabbitmq")
    os.makedirs(home, exist_ok=True)
    with open(os.path.join(home, "enabled_plugins"), "w") as out:
        out.write("[rabbitmq_management].\n")
    with open(os.path.join(home, "rabbitmq.conf"), "w") as out:
        out.write(f"management.tcp.port = {port}\nmanagement.tcp.ip = 127.0.0.1\nlisteners.tcp.1 = 127.0.0.1:{amqp}\n"
                  "loopback_users = none\n")
    server = next(p for p in ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/usr/sbin/rabbitmq-server") if os.path.exists(p))
    with process(server, log=log("rabbitmq"), HOME=home, RABBITMQ_NODENAME=f"pollcast{port}@localhost",
                 RABBITMQ_MNESIA_BASE=home, RABBITMQ_LOG_BASE=home, RABBITMQ_DIST_PORT=str(free_port()),
                 RABBITMQ_ENABLED_PLUGINS_FILE=os.path.join(home, "enabled_plugins"),
                 RABBITMQ_CONFIG_FILE=os.path.join(home, "rabbitmq"), ERL_EPMD_PORT=str(free_port()),
                 ERL_EPMD_ADDRESS="127.0.0.1"):
        yield port


def rabbitmq_checks(f):
    guest = {"auth": ("guest", "guest")}
    f.check("the page is the same", lambda: f.same("/"))
    f.check("a stranger and a wrong password are told 401",
            lambda: [f.same("/api/whoami", **how) for how in ({}, {"auth": ("guest", "wrong")})])

    def queue():
        url = f.url + "/api/queues/%2F/q1"
        assert httpx.put(url, json={"durable": True}, **guest).status_code in (201, 204)
        assert httpx.get(url, **guest).json()["name"] == "q1"
        assert httpx.delete(url, **guest).status_code == 204
        assert httpx.get(url, **guest).status_code == 404
    f.check("a queue of the virtual host / is made, read and deleted", queue)


# Each program, its checks, the paths that the probe looks at, and the headers that it is given for them. For a path of
# NOT_FOR_ALL the probe suggests nothing.
NOT_FOR_ALL = {"socket.io": "/socket.io/?EIO=4&transport=polling"}
PROGRAMS = {
    "json-server": (json_server, json_server_checks, ["/posts", "/posts/1", "/profile"], []),
    "socket.io": (socket_io, socket_io_checks, [], []),
    "pouchdb": (pouchdb, pouchdb_checks, ["/", "/_all_dbs"], []),
    "datasette": (datasette, datasette_checks, ["/", "/-/databases.json"], []),
    "jupyter": (jupyter, jupyter_checks, ["/api/contents", "/api"], ["Authorization: token letmein"]),
    "alertmanager": (alertmanager, alertmanager_checks, ["/api/v2/alerts", "/api/v2/receivers"], []),
    "nats": (nats, nats_checks, ["/connz", "/varz", "/routez"], []),
    "rabbitmq": (rabbitmq, rabbitmq_checks, ["/api/queues", "/api/overview"],
                 ["Authorization: Basic " + base64.b64encode(b"guest:guest").decode()]),
}


def main():
    table = Table()

    def behind(name, probe):
        started, checks, probed, headers = PROGRAMS[name]
        called = name + " as the probe suggests" if probe else name
        try:
            with started() as api:
                await_answer(f"http://127.0.0.1:{api}/")
                if probe and name in NOT_FOR_ALL:
                    table.check(f"{name}: the probe suggests no route",
                                lambda: suggests_nothing(BINARY, HOME, FIVE_MINUTES, api, NOT_FOR_ALL[name]))
                    return
                more = {"probed": probed, "headers": headers} if probe else {}
                with pollcast(BINARY, HOME, FIVE_MINUTES, api, table, called, **more) as front:
                    checks(front)
        except Exception as error:
            table.failed.append(called)
            print(f"FAIL  {called}: {type(error).__name__}: {error}", flush=True)

    for name in sys.argv[3:] or PROGRAMS:
        behind(name, probe=False)
        behind(name, probe=True)
    print(f"{table.passed} checks passed, {len(table.failed)} failed")
    sys.exit(bool(table.failed))


main()

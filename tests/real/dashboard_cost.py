#!/usr/bin/env python3
"""What an open dashboard costs a pollcast that polls many resources.

    tests/real/dashboard_cost.py PROGRAM [RESOURCES] [SECONDS] [ROUNDS]        default: 10000 20 3

PROGRAM is a built pollcast. Each resource is followed by one event stream, polled every 10 s, and another one every 30 s.
In each round the process is left alone for SECONDS, and then a dashboard reads its stream for as long: as it opens, sorted
by its slowest column, and with a search. Prints the bytes a second of each, and the CPU of the process and of the thread that
answers operators with and without it: the polls' own CPU differs more from one time to the next than a dashboard takes.
Needs nothing but Python's own library, and 20,000 open files a process.
"""
import os, socket, statistics, sys, tempfile, time

from crowd import Crowd, cpu_s, pollcast, raise_limit, start_api
from ports import free_port

VIEWS = {"as it opens": "", "sorted by path": "sort=path&order=ascending", "a search": "search=r/77"}


def configuration(proxy, admin, api, resources):
    return f"""listeners: [{{address: '127.0.0.1:{proxy}'}}]
admin: {{address: '127.0.0.1:{admin}'}}
upstreams: {{legacy: {{servers: ['127.0.0.1:{api}']}}}}
limits: {{resources: {resources + 100}}}
log: {{access: false}}
routes: [{{path: '/r/{{id}}', upstream: legacy, poll: {{interval: 10s}}}}]
"""


def look(admin, view, seconds):
    """Reads a dashboard's stream for this long. Returns the bytes of its first event, and of all after that."""
    stream = socket.create_connection(("127.0.0.1", admin))
    stream.sendall(f"GET /-/dashboard/stream?{view} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    began, first, rest = time.monotonic(), 0, 0
    stream.settimeout(0.2)
    while (now := time.monotonic()) < began + seconds:
        try:
            count = len(stream.recv(1 << 20))
        except TimeoutError:
            continue
        if now < began + 1:
            first += count
        else:
            rest += count
    stream.close()
    return first, rest


def cpu(process, seconds, work):
    """The CPU of the process and of its thread for operators while this work goes on, in percent of a core."""
    before = cpu_s(process), cpu_s(process, "admin")
    work()
    after = cpu_s(process), cpu_s(process, "admin")
    return [(now - then) / seconds * 100 for now, then in zip(after, before)]


def main():
    numbers = [int(n) for n in sys.argv[2:]]
    resources, seconds, rounds = (numbers + [10000, 20, 3][len(numbers):])[:3]
    raise_limit()
    proxy, admin, api = free_port(), free_port(), start_api(changes_s=30)
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "pollcast.yaml")
        with open(file, "w", encoding="ascii") as text:
            text.write(configuration(proxy, admin, api, resources))
        with pollcast(sys.argv[1], file, admin) as process:
            crowd = Crowd(proxy, [f"/r/{n}" for n in range(resources)])
            crowd.await_all()
            print(f"{resources} resources are followed", flush=True)
            more = {name: [] for name in VIEWS}
            for _ in range(rounds):
                for name, view in VIEWS.items():
                    without = cpu(process, seconds, lambda: time.sleep(seconds))
                    sent = []
                    with_it = cpu(process, seconds, lambda: sent.extend(look(admin, view, seconds)))
                    more[name].append([one - other for one, other in zip(with_it, without)])
                    print(
                        f"{name}: {sent[0] / 1000:.1f} kB at first, then {sent[1] / (seconds - 1) / 1000:.2f} kB/s; CPU of the "
                        f"process {with_it[0]:.1f} % of a core, without {without[0]:.1f} %; of the thread {with_it[1]:.2f} %, "
                        f"without {without[1]:.2f} %", flush=True)
            is_open, _, ended = crowd.counts()
    for name, parts in more.items():
        process, thread = (statistics.median(values) for values in zip(*parts))
        print(f"{name}: {process:+.1f} % of a core, of the thread {thread:+.2f} % (medians of {rounds})")
    print(f"streams that ended: {len(ended)}, open at the end: {is_open}")


if __name__ == "__main__":
    main()

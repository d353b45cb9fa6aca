#!/usr/bin/env python3
"""How long a reload takes with many streams and routes, and how many streams it ends.

    tests/real/reload.py PROGRAM [STREAMS] [ROUTES] [RELOADS]        default: 10000 1000 6

PROGRAM is a built pollcast. Each reload gives every second route another heartbeat and one of them another meaning, and
adds a route or removes it. Prints of each how long the process took, how long its caller waited, when a new connection
first met the new configuration, the longest answer that another client had meanwhile, the CPU time of the process beyond
what it has without a reload, and the streams that ended: those of the one route. Exit status 1: others ended, or one
without its `bye`. Needs nothing but Python's own library, and 20,000 open files a process.
"""
import os, statistics, sys, tempfile, threading, time

from crowd import Crowd, ask, cpu_s, pollcast, raise_limit, start_api
from ports import free_port

# How long CPU time is counted from the reload on.
WINDOW_S = 3


def configuration(proxy, admin, api, routes, changed):
    lines = [
        f"listeners: [{{address: '127.0.0.1:{proxy}'}}]",
        f"admin: {{address: '127.0.0.1:{admin}'}}",
        f"upstreams: {{legacy: {{servers: ['127.0.0.1:{api}']}}}}",
        "log: {access: false}",
        "routes:",
    ]
    for n in range(routes + changed):
        more = ", heartbeat: 29s" if changed and n % 2 else ""
        accept = ", accept: text/plain" if changed and n == 0 else ""
        lines.append(f"- {{path: /r{n}, upstream: legacy, poll: {{interval: 1m{accept}}}{more}}}")
    return "\n".join(lines) + "\n"


class Probe(threading.Thread):
    """Asks for the route that comes and goes until it is there, or gone, and for one that stays."""

    def __init__(self, proxy, routes, is_there):
        super().__init__(daemon=True)
        self.proxy, self.routes, self.is_there = proxy, routes, is_there
        self.met_at, self.longest_ms, self.runs = None, 0.0, True

    def run(self):
        while self.runs:
            began = time.monotonic()
            status, _ = ask(self.proxy, "GET", "/r1")
            assert status == 200, status
            self.longest_ms = max(self.longest_ms, (time.monotonic() - began) * 1000)
            if self.met_at is None and (ask(self.proxy, "GET", f"/r{self.routes}")[0] == 200) == self.is_there:
                self.met_at = time.monotonic()


def one_reload(process, ports, file, routes, changed, crowd):
    proxy, admin, api = ports
    probe = Probe(proxy, routes, bool(changed))
    before = cpu_s(process)
    time.sleep(WINDOW_S)
    idle_s = cpu_s(process) - before
    with open(file, "w", encoding="ascii") as text:
        text.write(configuration(proxy, admin, api, routes, changed))
    probe.start()
    before, began = cpu_s(process), time.monotonic()
    status, report = ask(admin, "POST", "/-/reload")
    waited_ms = (time.monotonic() - began) * 1000
    assert status == 200 and report["result"] == "applied", report
    while probe.met_at is None:
        time.sleep(0.001)
    probe.runs = False
    probe.join()
    met_ms = (probe.met_at - began) * 1000
    time.sleep(max(0.0, began + WINDOW_S - time.monotonic()))
    more_s = cpu_s(process) - before - idle_s
    print(
        f"reload: {report['took_ms']:.1f} ms in the process, {waited_ms:.1f} ms for its caller, met by a request after "
        f"{met_ms:.1f} ms, longest other answer {probe.longest_ms:.1f} ms, {more_s:.2f} s of CPU more in {WINDOW_S} s, "
        f"{report['ended']['followers']} streams ended", flush=True)
    crowd.await_all()
    return report["took_ms"], waited_ms, met_ms, more_s


def main():
    numbers = [int(n) for n in sys.argv[2:]]
    streams, routes, reloads = (numbers + [10000, 1000, 6][len(numbers):])[:3]
    raise_limit()
    ports = (free_port(), free_port(), start_api())
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "pollcast.yaml")
        with open(file, "w", encoding="ascii") as text:
            text.write(configuration(*ports, routes, 0))
        with pollcast(sys.argv[1], file, ports[1]) as process:
            crowd = Crowd(ports[0], [f"/r{n % routes}" for n in range(streams)])
            crowd.await_all()
            print(f"{streams} streams of {routes} routes are open", flush=True)
            all_of_it = [one_reload(process, ports, file, routes, (n + 1) % 2, crowd) for n in range(reloads)]
            ended = crowd.counts()[2]
    took, waited, met, cpu = (statistics.median(values) for values in zip(*all_of_it))
    strangers = {path for path, _ in ended} - {"/r0"}
    silent = sum(not said_bye for _, said_bye in ended)
    print(
        f"median of {reloads}: {took:.1f} ms in the process, {waited:.1f} ms for its caller, met by a request after {met:.1f} "
        f"ms, {cpu:.2f} s of CPU; of {streams} streams {len(ended)} ended in all reloads, {silent} of them without bye, all of the changed route: {not strangers}")
    sys.exit(1 if strangers or silent else 0)


if __name__ == "__main__":
    main()

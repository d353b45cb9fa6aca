#!/usr/bin/env python3
"""Runs the examples of src/manual/libraries.md against a demo: each has to see the auction change.

Run by hand, with the path of a binary: python3 tests/real/snippets.py target/debug/pollcast
Python's and Node's libraries are installed by name, into a folder of their own below the system's temporary one. Go, Java
and C# are Debian's golang-go, default-jdk-headless, mono-mcs with mono-runtime and libmono-system-net-http4.0-cil, and
Node's npm; an example whose tools are missing is a failure that names them. Exit status 0: each example saw changes.
"""
import os, pathlib, re, shutil, signal, subprocess, sys, tempfile, time

from ports import await_listener, free_port

HERE = pathlib.Path(tempfile.gettempdir()) / "pollcast-real-snippets"
PAGE = pathlib.Path(__file__).resolve().parents[2] / "src" / "manual" / "libraries.md"
# The lot changes every few seconds.
CHANGES, LIMIT_S = 3, 90
# language: the file of the example, the commands that build it, the command that runs it, Debian's packages
KINDS = {
    "python": ("follow.py", [], ["venv/bin/python", "-u", "follow.py"], "python3-venv"),
    "javascript": ("follow.mjs", [], ["node", "follow.mjs"], "nodejs npm"),
    "go": ("follow.go", [["go", "build", "-o", "follow-go", "follow.go"]], ["./follow-go"], "golang-go"),
    "java": ("Follow.java", [["javac", "Follow.java"]], ["java", "Follow"], "default-jdk-headless"),
    "csharp": ("follow.cs", [["mcs", "-r:System.Net.Http.dll", "follow.cs"]], ["mono", "follow.exe"],
               "mono-mcs mono-runtime libmono-system-net-http4.0-cil"),
}


def install():
    HERE.mkdir(exist_ok=True)
    if not (HERE / "venv" / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(HERE / "venv")], check=True)
    subprocess.run([str(HERE / "venv/bin/python"), "-m", "pip", "install", "--quiet", "httpx", "httpx-sse"], check=True)
    if shutil.which("npm") and not (HERE / "node_modules" / "eventsource").exists():
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "eventsource"], cwd=HERE, check=True)


def start(binary):
    listen, admin = free_port(), free_port()
    arguments = [binary, "demo", "--listen", f"127.0.0.1:{listen}", "--admin", f"127.0.0.1:{admin}"]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    await_listener(process, listen, "the demo")
    return process, listen


def try_out(language, text, listen):
    """Runs one example; gives what is wrong with it, or nothing."""
    name, builds, command, packages = KINDS[language]
    for tool in [build[0] for build in builds] + [command[0]]:
        if "/" not in tool and not shutil.which(tool):
            return f"{tool} is missing: Debian's {packages}"
    (HERE / name).write_text(text.replace("127.0.0.1:8080", f"127.0.0.1:{listen}"))
    for build in builds:
        made = subprocess.run(build, cwd=HERE, capture_output=True, text=True)
        if made.returncode:
            return made.stdout + made.stderr
    log = HERE / (name + ".log")
    with open(log, "w") as out:
        client = subprocess.Popen(command, cwd=HERE, stdout=out, stderr=subprocess.STDOUT)
    until, states = time.time() + LIMIT_S, []
    while time.time() < until and len(states) < CHANGES and client.poll() is None:
        time.sleep(0.2)
        # The lot, as JSON or as Python prints it.
        states = [line for line in log.read_text().splitlines() if re.search(r"""["']?lot["']?: ?1""", line)]
    client.send_signal(signal.SIGKILL)
    client.wait()
    if len(states) < CHANGES or len(set(states)) != len(states):
        return f"it saw {len(states)} states: {log.read_text()[-600:]}"
    return None


def main():
    binary = os.path.abspath(sys.argv[1])
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    examples = [(language, text) for language, text in blocks if language != "sh"]
    unknown = {language for language, _ in examples} ^ set(KINDS)
    if unknown:
        sys.exit(f"the page and this script differ in {unknown}")
    install()
    process, listen = start(binary)
    failed = False
    try:
        for language, text in examples:
            wrong = try_out(language, text, listen)
            failed |= wrong is not None
            print(f"FAIL {language}: {wrong}" if wrong else f"ok   {language}", flush=True)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
    sys.exit(1 if failed else 0)


main()

"""Ports on loopback for the scripts beside this one; the standard library alone."""
import socket, sys, time


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def await_listener(process, port, name):
    """Waits until the process listens; ends it and this script if it does not."""
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
    process.kill()
    sys.exit(f"{name} did not start")

"""How long from process start to `/readyz` 200, natively, with everything in the page cache.

Runs alternate with a bare import of asyncio and ssl on the same Python: that ratio can be
compared between machines, the milliseconds cannot.
"""

import argparse
import http.client
import json
import socket
import statistics
import subprocess
import sys
import time

RUNS = 10
AIM_MS = 300
GIVE_UP_S = 30.0
POLL_S = 0.001
BARE = [sys.executable, "-c", "import asyncio, ssl"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--json", action="store_true")
    args, _ = parser.parse_known_args()
    bare_ms(), ready_ms()  # the first of each fills the caches
    pairs = [(bare_ms(), ready_ms()) for _ in range(args.runs)]
    bare, ready = (statistics.median(column) for column in zip(*pairs, strict=True))
    if args.json:
        fields = {"bench": "cold_start", "ready_ms": round(ready, 1), "bare_ms": round(bare, 1)}
        samples = [round(ms, 1) for _, ms in pairs]
        print(json.dumps(fields | {"ratio": round(ready / bare, 2), "samples_ms": samples}))
        return
    low, high = (pick(ms for _, ms in pairs) for pick in (min, max))
    print(f"cold start, median of {args.runs}")
    print(f"  process start to /readyz 200   {ready:6.1f} ms ({low:.0f} to {high:.0f})")
    print(f"  python -c 'import asyncio, ssl' {bare:5.1f} ms")
    print(f"  ratio                          {ready / bare:6.2f}   (aim: {AIM_MS} ms)")


def bare_ms() -> float:
    """A Python that imports what no TLS server can do without."""
    began = time.perf_counter()
    subprocess.run(BARE, check=True)
    return 1000 * (time.perf_counter() - began)


def ready_ms() -> float:
    """One start, up to the first honest yes."""
    oap, admin = free_ports()
    argv = [sys.executable, "-m", "overlay_edge", "--log-level", "error"]
    argv += ["--oap-addr", f"127.0.0.1:{oap}", "--admin-addr", f"127.0.0.1:{admin}"]
    began = time.perf_counter()
    # Not to wherever we print: a node that promises amnesia has no log on a disk.
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        while not is_ready(admin):
            if process.poll() is not None or time.perf_counter() - began > GIVE_UP_S:
                raise SystemExit("error: the node did not become ready")
            time.sleep(POLL_S)
        return 1000 * (time.perf_counter() - began)
    finally:
        process.terminate()
        sys.stderr.write(process.communicate()[1])


def is_ready(port: int) -> bool:
    """Ask once; a node that has bound its port answers as soon as it can."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=GIVE_UP_S)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except ConnectionError:
        return False
    finally:
        connection.close()


def free_ports() -> tuple[int, int]:
    """Two ports that were free a moment ago."""
    here = ("127.0.0.1", 0)
    with socket.create_server(here) as one, socket.create_server(here) as two:
        return one.getsockname()[1], two.getsockname()[1]


if __name__ == "__main__":
    main()

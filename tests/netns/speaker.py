"""Speaker: publishes through the node of its host, one message after the other.

python -m tests.netns.speaker TOPIC COUNT EVERY_MS

Each answer is a line of JSON. A node that wants us to wait is obeyed; when it is gone, so are we.
"""

import asyncio
import io
import json
import os
import sys
from argparse import Namespace

from overlay_edge.client import connect
from overlay_edge.ctl.target import local_pin
from overlay_edge.errors import EdgeError, Refused
from overlay_edge.gossip_client import publish

SIZES = (20, 2000, 20_000)  # in turn
HERE = Namespace(addr="127.0.0.1:9444", admin="127.0.0.1:9600", timeout=10.0)


async def speak(topic: str, count: int, every_s: float) -> None:
    """Publish."""
    async with connect(HERE.addr, pin=local_pin(HERE), timeout_s=HERE.timeout) as client:
        for number in range(count):
            data = os.urandom(SIZES[number % len(SIZES)])
            while True:
                try:
                    said = await publish(client, topic, io.BytesIO(data), len(data))
                    break
                except Refused as refused:
                    if not refused.retry_after_ms:
                        raise
                    await asyncio.sleep(refused.retry_after_ms / 1000)
            print(json.dumps(said), flush=True)
            await asyncio.sleep(every_s)


def main() -> int:
    """Publish, and say how it ended by the exit code."""
    topic, count, every_ms = sys.argv[1:]
    try:
        asyncio.run(speak(topic, int(count), int(every_ms) / 1000))
    except EdgeError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

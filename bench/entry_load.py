"""A crowd at the scan pages, a process of its own: `python -m bench.entry_load` with a plan on its input.

The plan is JSON: port, path, headers, bodies, connections, seconds. So is the answer: entries recorded, other
answers, seconds, p95 in ms.
"""

import asyncio
import json
import sys
import time
from itertools import cycle
from statistics import quantiles

RECORDED = "已登记".encode()


class Person(asyncio.Protocol):
    """One connection that posts the next form as soon as the last one is answered."""

    def __init__(self, crowd):
        self.crowd, self.received = crowd, b""

    def connection_made(self, transport):
        self.transport = transport
        self.post()

    def post(self):
        self.began = time.perf_counter()
        self.transport.write(next(self.crowd.requests))

    def data_received(self, data):
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(body) < length:
            return
        self.received = b""
        recorded = head.startswith(b"HTTP/1.1 200") and RECORDED in body
        self.crowd.answered(recorded, time.perf_counter() - self.began)
        if time.perf_counter() < self.crowd.until:
            self.post()
        else:
            self.transport.close()

    def connection_lost(self, error):
        self.crowd.gone()


class Crowd:
    def __init__(self, plan):
        made = []
        for body in plan["bodies"]:
            lines = [f"POST {plan['path']} HTTP/1.1", f"Host: 127.0.0.1:{plan['port']}"]
            lines += [f"{name}: {value}" for name, value in plan["headers"].items()]
            lines += ["Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"]
            made.append(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        self.requests, self.plan = cycle(made), plan
        self.recorded, self.other, self.waits, self.left = 0, 0, [], plan["connections"]

    def answered(self, recorded, waited):
        self.recorded += recorded
        self.other += not recorded
        self.waits.append(waited)

    def gone(self):
        self.left -= 1
        if not self.left:
            self.over.set_result(None)

    async def run(self):
        loop = asyncio.get_running_loop()
        self.over, began = loop.create_future(), time.perf_counter()
        self.until = began + self.plan["seconds"]
        for _ in range(self.plan["connections"]):
            await loop.create_connection(lambda: Person(self), "127.0.0.1", self.plan["port"])
        await self.over
        return {
            "recorded": self.recorded,
            "other": self.other,
            "seconds": time.perf_counter() - began,
            "p95": quantiles(self.waits, n=20)[-1] * 1000,
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(Crowd(json.load(sys.stdin)).run())))

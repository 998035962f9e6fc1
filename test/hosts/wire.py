"""A long cable, for kernels without netem: two tap devices of this network namespace, between which each frame is held
for a while. Arguments: the two devices, which it makes. Input: lines `DELAY JITTER`, in milliseconds, that hold for all
frames that come after; its end is the cable's end, and the devices go with it.

Frames keep their order, as on one path. What a cable cannot hold is lost, as at a switch.
"""

import collections
import fcntl
import os
import random
import select
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
MAX_FRAME = 65536
MAX_HELD_BYTES = 8 * 1024 * 1024
MAX_LINE = 100


class Way:
    """One direction."""

    def __init__(self, source, target):
        self.source = source
        self.target = target
        self.held = collections.deque()
        self.held_bytes = 0
        self.last_due = 0.0

    def take(self, now, delay, jitter):
        frame = os.read(self.source, MAX_FRAME)
        if self.held_bytes + len(frame) > MAX_HELD_BYTES:
            return
        due = max(self.last_due, now + max(0.0, delay + random.uniform(-jitter, jitter)))
        self.last_due = due
        self.held.append((due, frame))
        self.held_bytes += len(frame)

    def give(self, now):
        while self.held and self.held[0][0] <= now:
            _, frame = self.held.popleft()
            self.held_bytes -= len(frame)
            try:
                os.write(self.target, frame)
            except OSError:
                pass  # The device is down, or its queue is full: lost.

    def due(self):
        return self.held[0][0] if self.held else None


def tap(name):
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return device


def main():
    near, far = (tap(name) for name in sys.argv[1:3])
    ways = {near: Way(near, far), far: Way(far, near)}
    delay = jitter = 0.0
    line = b""
    print("ready", flush=True)
    while True:
        now = time.monotonic()
        dues = [way.due() for way in ways.values() if way.held]
        wait = max(0.0, min(dues) - now) if dues else None
        readable, _, _ = select.select([0, near, far], [], [], wait)
        now = time.monotonic()
        for device in readable:
            if device in ways:
                try:
                    ways[device].take(now, delay, jitter)
                except OSError:
                    time.sleep(0.001)  # Not up yet, or not any more.
                continue
            got = os.read(0, MAX_LINE)
            if not got or len(line) > MAX_LINE:
                return
            *lines, line = (line + got).split(b"\n")
            for each in lines:
                delay, jitter = (float(word) / 1000 for word in each.split())
                print("set", flush=True)
        for way in ways.values():
            way.give(now)


main()

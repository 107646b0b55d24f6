"""TCP wires that can be cut and slowed: each leads from a port of its own to a server's."""

import asyncio
import threading

CHUNK = 64 * 1024


class Wire:
    """One wire. `mode` is `whole`, `cut` (what is open is broken, what comes is refused), `stalled` or a delay in seconds."""

    def __init__(self, name, target):
        self.name, self.target = name, target
        self.mode = "whole"
        self.port = None
        self.open = set()

    async def serve(self):
        server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]

    async def accept(self, reader, writer):
        if self.mode == "cut":
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        both = (writer, far_writer)
        self.open.add(both)
        ways = [asyncio.create_task(way) for way in (self.carry(reader, far_writer), self.carry(far_reader, writer))]
        # Where one end is reset, so is the other: a dead process's peer hears of it at once, as it would without us.
        await asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        self.open.discard(both)
        for end in both:
            end.transport.abort()

    async def carry(self, reader, writer):
        while data := await reader.read(CHUNK):
            while self.mode == "stalled":
                await asyncio.sleep(0.05)
            if isinstance(self.mode, float):
                await asyncio.sleep(self.mode)
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    def set(self, mode):
        self.mode = mode
        if mode == "cut":
            for both in list(self.open):
                for end in both:
                    end.transport.abort()


class Wires:
    """All wires, carried by a thread of their own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.all = []

    def lay(self, name, target):
        wire = Wire(name, target)
        asyncio.run_coroutine_threadsafe(wire.serve(), self.loop).result(10)
        self.all.append(wire)
        return wire

    def set(self, wire, mode):
        self.loop.call_soon_threadsafe(wire.set, mode)

    def stop(self):
        """Carries nothing more."""
        for wire in self.all:
            self.set(wire, "cut")
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

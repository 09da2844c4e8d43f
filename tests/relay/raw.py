# SPDX-License-Identifier: MIT
"""A WebSocket by hand, for what no decent client sends."""
import base64
import os
import socket
import struct
import urllib.parse


class Raw:
    def __init__(self, url, token=None, headers="", shake=True, seconds=10, buffer=None):
        parts = urllib.parse.urlsplit(url)
        self.link = socket.socket()
        self.link.settimeout(seconds)
        if buffer:
            self.link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.link.connect((parts.hostname, parts.port))
        self.rest = b""
        if not shake:
            return
        path = parts.path + ("?" + parts.query if parts.query else "")
        key = base64.b64encode(os.urandom(16)).decode()
        auth = f"Authorization: Bearer {token}\r\n" if token else ""
        self.link.sendall((f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                           f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{auth}{headers}\r\n").encode())
        while b"\r\n\r\n" not in self.rest:
            more = self.link.recv(65536)
            if not more:
                break
            self.rest += more
        self.head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        self.status = int(self.head.split()[1]) if self.head else 0

    def send(self, data):
        self.link.sendall(data)

    def frame(self, payload=b"", opcode=1, fin=True, mask=True, rsv=0, length=None):
        """Send one frame; length lies about the payload's."""
        if isinstance(payload, str):
            payload = payload.encode()
        n = len(payload) if length is None else length
        head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
        bit = 0x80 if mask else 0
        head += bytes([bit | n]) if n < 126 else bytes([bit | 126]) + struct.pack(">H", n) if n < 65536 else bytes([bit | 127]) + struct.pack(">Q", n)
        key = os.urandom(4)
        if mask:
            head += key
            payload = bytes(b ^ key[i % 4] for i, b in enumerate(payload)) if len(payload) < 4096 else self._mask(payload, key)
        self.send(head + payload)

    @staticmethod
    def _mask(payload, key):
        pad = key * (len(payload) // 4 + 1)
        return (int.from_bytes(payload, "big") ^ int.from_bytes(pad[:len(payload)], "big")).to_bytes(len(payload), "big")

    def _need(self, n):
        while len(self.rest) < n:
            more = self.link.recv(65536)
            if not more:
                raise EOFError
            self.rest += more

    def next(self):
        """(opcode, payload) of the next frame; EOFError at the end."""
        self._need(2)
        n, at = self.rest[1] & 127, 2
        if n == 126:
            self._need(4)
            n, at = struct.unpack(">H", self.rest[2:4])[0], 4
        elif n == 127:
            self._need(10)
            n, at = struct.unpack(">Q", self.rest[2:10])[0], 10
        self._need(at + n)
        opcode, payload, self.rest = self.rest[0] & 15, self.rest[at:at + n], self.rest[at + n:]
        return opcode, payload

    def text(self):
        while True:
            opcode, payload = self.next()
            if opcode == 1:
                return payload.decode()

    def end(self):
        """How it ends: the close code, or None when the line was just cut."""
        try:
            while True:
                opcode, payload = self.next()
                if opcode == 8:
                    return struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else 1005
        except (EOFError, ConnectionError):
            return None

    def close(self):
        self.link.close()

"""A client of cluster's control API in Python 3, without dependencies.

    cluster serve --control /tmp/app.sock &
    python3 client.py /tmp/app.sock server.js
"""
import json
import socket
import sys


class ClusterError(Exception):
    """What a method says when it fails; `code` is a name such as ENOENT."""

    def __init__(self, error):
        super().__init__(error["message"])
        self.code = error.get("data", {}).get("code")


class Cluster:
    """A connection to a primary."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._lines = self._socket.makefile("r", encoding="utf-8")
        self._last = 0
        self._events = []

    def call(self, method, **params):
        """Calls a method, and returns its result. Events that come first wait for `event`."""
        self._last += 1
        request = {"jsonrpc": "2.0", "id": self._last, "method": method, "params": params}
        self._socket.sendall((json.dumps(request) + "\n").encode())
        while True:
            line = json.loads(self._lines.readline())
            if line.get("method") == "event":
                self._events.append(line["params"])
            elif line["id"] not in (self._last, None):
                continue
            elif "error" in line:  # under None if it could not tell the id (a line over 64 MiB)
                raise ClusterError(line["error"])
            else:
                return line["result"]

    def event(self, kind):
        """Waits for the next event of that type; others are passed over."""
        while True:
            if self._events:
                event = self._events.pop(0)
            else:
                event = json.loads(self._lines.readline())["params"]
            if event["type"] == kind:
                return event

    def close(self):
        self._lines.close()
        self._socket.close()


def main(path, script):
    cluster = Cluster(path)
    cluster.call("subscribe", events=["listening", "message", "exit"])
    cluster.call("setupPrimary", exec=script)
    worker = cluster.call("fork", env={"GREETING": "hello"})["worker"]
    port = cluster.event("listening")["address"]["port"]
    print(f"worker {worker} listens on port {port}")
    cluster.call("send", worker=worker, message={"question": "who are you?"})
    message = cluster.event("message")
    print(f"worker {worker}: {message['message']}")
    try:
        cluster.call("kill", worker=worker, signal="SIGFOO")
    except ClusterError as error:
        print(error.code)
    cluster.call("disconnect")
    print("all have disconnected")
    cluster.call("stop")
    cluster.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

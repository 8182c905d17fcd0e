"""A server that knows nothing of clusters: it takes its socket by LISTEN_FDS, says READY=1 if somebody wants to
hear it, and at SIGTERM finishes what it has begun."""

import http.server
import os
import signal
import socket
import socketserver
import sys
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = f"{os.getpid()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, listener):
        super().__init__(listener.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener

    def get_request(self):
        # Whoever shares the socket may have been quicker.
        connection, address = self.socket.accept()
        connection.setblocking(True)
        return connection, address


if int(os.environ.get("LISTEN_PID", "0")) != os.getpid() or os.environ.get("LISTEN_FDS") != "1":
    sys.exit("no socket was passed to this process")
listener = socket.socket(fileno=3)
listener.setblocking(False)
server = Server(listener)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
if "NOTIFY_SOCKET" in os.environ:
    address = os.environ["NOTIFY_SOCKET"]
    if address.startswith("@"):
        address = "\0" + address[1:]
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", address)
server.serve_forever(poll_interval=0.05)
server.server_close()

"""A queue consumer: a job takes three seconds, and is done before the program stops."""

import signal
import time

stopping = False


def stop(_number, _frame):
    global stopping
    stopping = True
    print(f"asked at {time.time():.3f}", flush=True)


signal.signal(signal.SIGTERM, stop)
while not stopping:
    print(f"job begins at {time.time():.3f}", flush=True)
    time.sleep(3)  # Goes on after a signal.
    print("job done", flush=True)
print("stops", flush=True)

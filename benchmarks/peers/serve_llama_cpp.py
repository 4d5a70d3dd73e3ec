"""llama.cpp's own server on a converted file: bound to a port, until it is ended."""

import argparse
import signal

from xllamacpp import CommonParams, Server


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--context", type=int, required=True, help="tokens of one row")
    given = parser.parse_args()
    how = CommonParams()
    how.model.path, how.port = given.file, given.port
    how.cpuparams.n_threads = how.cpuparams_batch.n_threads = given.threads
    how.n_parallel, how.n_ctx = given.rows, given.rows * given.context
    how.n_batch = how.n_ubatch = 512
    server = Server(how)
    print(server.listening_address, flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()

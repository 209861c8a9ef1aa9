"""Shows landmarks in the browser: of a photograph or of the camera, of several models side by side.

    python -m kdloss.serve
    python -m kdloss.serve --checkpoint mobilenetv2-300w --checkpoint runs/student --port 0

Prints the page's address and serves it until it is interrupted. Pictures stay on this machine, and none is stored.
"""

import argparse
import contextlib
import ipaddress
import signal
import socket
import sys

from kdloss.errors import ConfigError, exits_on_user_error
from kdloss.experiments.flags import add_checkpoint_flag
from kdloss.inference.detectors import DETECTORS
from kdloss.inference.options import add_landmarker_options, check_landmarker
from kdloss.serving.models import ServedModel, shown_names

MODELS = ("mobilenetv2-300w", "mobilenetv2-300w/int8.tflite")
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@exits_on_user_error
def main(argv=None):
    args = _parser().parse_args(argv)
    checkpoints = args.checkpoint or list(MODELS)
    names = shown_names(checkpoints)
    loads = [check_landmarker(args, checkpoint) for checkpoint in checkpoints]
    try:
        import uvicorn

        from kdloss.serving.application import application
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("starlette", "uvicorn"):
            raise
        raise ConfigError(f"{missing} is not installed: pip install '.[serve]'") from None
    # First, so that a port in use shows before networks are loaded.
    with _listening(args.host, args.port) as listener:
        host, port = listener.getsockname()[:2]
        if not ipaddress.ip_address(host).is_loopback:
            print(
                f"warning: --host {args.host}: everybody who reaches this address can use the page: "
                "it asks for no password",
                file=sys.stderr,
                flush=True,
            )
        models = [ServedModel(name, load()) for name, load in zip(names, loads, strict=True)]
        config = uvicorn.Config(
            application(models, _hosts(args.host, host)),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="off",
            timeout_graceful_shutdown=5,
        )
        # Both signals end the server in order. It raises them once more when that is done: as one that is caught here.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            _announced(uvicorn, f"http://{_in_address(args.host)}:{port}/")(config).run(sockets=[listener])
    return 0


def _announced(uvicorn, address):
    """uvicorn's server that says its address once it listens for signals, too: who reads it may end it at once."""

    class Server(uvicorn.Server):
        async def startup(self, sockets=None):
            await super().startup(sockets=sockets)
            print(address, flush=True)

    return Server


def _listening(host, port):
    """A socket that listens at an address.

    Raises:
        ConfigError: no such address, or it is in use.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)
    except socket.gaierror as error:
        raise ConfigError(f"--host {host}: no such address ({error.strerror}): give one of this machine's") from None
    except OSError as error:
        raise ConfigError(
            f"--host {host} --port {port}: cannot listen there ({error.strerror}): give another port, 0 for any "
            "that is free, or an address of this machine"
        ) from None


def _hosts(named, bound):
    """Names by which requests may call the server, see `application`."""
    if ipaddress.ip_address(bound).is_unspecified:
        return ["*"]  # all of the machine's addresses and names, which nobody can list
    return [*LOOPBACK, _in_address(named), _in_address(bound)]


def _in_address(host):
    return f"[{host}]" if ":" in host else host


def _whole_number(lowest, highest):
    """What argparse takes for a whole number in a range."""

    def parse(text):
        if not (text.isdecimal() and lowest <= int(text) <= highest):
            raise argparse.ArgumentTypeError(f"{text}: expected a whole number, {lowest} to {highest}")
        return int(text)

    return parse


def _parser():
    parser = argparse.ArgumentParser(prog="python -m kdloss.serve", description=__doc__.split("\n")[0])
    add_checkpoint_flag(parser, "networks to show (default: the shipped one in 16 and in 8 bits)", several=True)
    add_landmarker_options(parser, list(DETECTORS), "what finds the faces")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s, this machine)")
    parser.add_argument(
        "--port", type=_whole_number(0, 65535), default=8000, help="0: any that is free (default: %(default)s)"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

"""Shows landmarks in the browser, for a photograph or the camera, with several models side by side.

    python -m kdloss.serve
    python -m kdloss.serve --checkpoint mobilenetv2-300w --checkpoint runs/student --port 0

Prints the address of the page and serves it until it is interrupted. Pictures stay on this machine and are not stored.
"""

import argparse
import contextlib
import ipaddress
import re
import signal
import socket
import sys

from kdloss.errors import ConfigError, exits_on_user_error
from kdloss.experiments.flags import add_checkpoint_flag
from kdloss.inference.detectors import DETECTORS
from kdloss.inference.options import add_landmarker_options, chosen_landmarker
from kdloss.serving.models import ServedModel, shown_names

MODELS = ("mobilenetv2-300w", "mobilenetv2-300w/int8.tflite")
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@exits_on_user_error
def main(argv=None):
    args = _parser().parse_args(argv)
    checkpoints = args.checkpoint or list(MODELS)
    names = shown_names(checkpoints)
    landmarkers = [chosen_landmarker(args, checkpoint) for checkpoint in checkpoints]
    try:
        from kdloss.serving.application import application
        from kdloss.serving.server import server
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("starlette", "uvicorn"):
            raise
        raise ConfigError(f"{missing} is not installed: pip install 'kdloss[serve]'") from None
    # Before networks are loaded, so that a port in use shows at once.
    with _listening(args.host, args.port) as listener:
        host, port = listener.getsockname()[:2]
        if not ipaddress.ip_address(host).is_loopback:
            risk = "everybody who reaches this address can use the page: it asks for no password"
            print(f"warning: --host {args.host}: {risk}", file=sys.stderr, flush=True)
        models = [ServedModel(*named) for named in zip(names, landmarkers, strict=True)]
        app = application(models, [*_hosts(args.host, host), *args.allow_host])
        # Both signals end the server in order. Then it raises the signal again, here always as KeyboardInterrupt.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            server(app, f"http://{_in_address(args.host)}:{port}/").run(sockets=[listener])
    return 0


def _listening(host, port):
    """A socket that listens at an address; raises `ConfigError` if there is none, or it is in use."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)
    except (socket.gaierror, UnicodeError) as error:
        reason = getattr(error, "strerror", "no name of a host")
        raise ConfigError(f"--host {host}: no such address ({reason}): give one of this machine's") from None
    except OSError as error:
        remedy = "give another port, 0 for any that is free, or an address of this machine"
        raise ConfigError(f"--host {host} --port {port}: cannot listen there ({error.strerror}): {remedy}") from None


def _hosts(named, bound):
    """The names of the server that requests may use, see `application`."""
    if ipaddress.ip_address(bound).is_unspecified:
        return ["*"]  # any name or address of the machine
    return [*LOOPBACK, _in_address(named), _in_address(bound)]


def _in_address(host):
    return f"[{host}]" if ":" in host else host


def _port(text):
    if not (text.isdecimal() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number, 0 to 65535")
    return int(text)


def _host_name(text):
    if not re.fullmatch(r"[a-z0-9_.-]+|\[[0-9a-f:.]+\]", text.lower()):
        raise argparse.ArgumentTypeError(f"{text}: expected the name of a host, without scheme and port")
    return text.lower()


def _parser():
    parser = argparse.ArgumentParser(prog="python -m kdloss.serve", description=__doc__.split("\n")[0])
    add_checkpoint_flag(parser, "networks to show (default: the shipped one in 16 and in 8 bits)", several=True)
    add_landmarker_options(parser, list(DETECTORS), "what finds the faces")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s, this machine)")
    proxied = "another name by which requests may ask for this server, such as a proxy's; may be repeated"
    parser.add_argument("--allow-host", metavar="NAME", type=_host_name, action="append", default=[], help=proxied)
    parser.add_argument("--port", type=_port, default=8000, help="port to listen at; 0: any free one (default: 8000)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

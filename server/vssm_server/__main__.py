"""`python -m vssm_server` is the command `vssm-server`."""

from vssm_server.cli import app

if __name__ == "__main__":
    app(prog_name="vssm-server")

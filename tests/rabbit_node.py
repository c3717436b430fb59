"""A private RabbitMQ node: own folder, own ports, own epmd. A broker of the system is never touched.

Commands go to the node through one Erlang process that is kept open: a `rabbitmqctl` for each would cost a
second.
"""

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.certificate import make_certificate
from tests.ports import free_ports
from tests.tied import TIED

START: Final = 120.0
"""Seconds within which a node answers; on an idle machine it takes four."""
WATERMARK: Final = "{absolute, 1073741824}"
USER: Final = "guest"

_EVALUATE: Final = """
Node = '%s',
Loop = fun Loop() ->
    case io:get_line("") of
        eof -> halt();
        Line ->
            {ok, Tokens, _} = erl_scan:string(Line),
            {ok, Parsed} = erl_parse:parse_exprs(Tokens),
            io:format("~0p~n", [rpc:call(Node, erl_eval, exprs, [Parsed, []], 30000)]),
            Loop()
    end
end,
Loop().
"""

_CONFIGURATION: Final = """\
listeners.tcp.1 = 127.0.0.1:{port}
listeners.ssl.1 = 127.0.0.1:{secure_port}
ssl_options.cacertfile = {certificate}
ssl_options.certfile = {certificate}
ssl_options.keyfile = {key}
vm_memory_high_watermark.absolute = 1GiB
disk_free_limit.absolute = 1MB
log.file.level = warning
"""


def installed_server() -> Path:
    """The script that starts a broker in the foreground. Fails with what to install where there is none."""
    folders = [*Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin"), Path("/opt/homebrew/sbin")]
    for folder in folders:
        if (folder / "rabbitmq-server").exists():
            return folder / "rabbitmq-server"
    raise RuntimeError(
        "no RabbitMQ for the tests: install one (Debian: apt-get install rabbitmq-server), or name one in "
        "BATCHMILL_TEST_AMQP_URL (tests that kill the broker need it installed)"
    )


class RabbitNode:
    """One node, which may be stopped, killed, wiped and started again at the same address."""

    def __init__(self, server: Path, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._port, self._secure_port, self._epmd_port, distribution = free_ports(4)
        self._name = f"t{self._port}@localhost"
        self._hosts: list[str] = []
        self._epmd: subprocess.Popen[bytes] | None = None
        self._node: subprocess.Popen[bytes] | None = None
        self._control: subprocess.Popen[str] | None = None
        cookie = folder / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        self.certificate, key = make_certificate(folder)
        (folder / "rabbitmq.conf").write_text(
            _CONFIGURATION.format(
                port=self._port, secure_port=self._secure_port, certificate=self.certificate, key=key
            )
        )
        (folder / "plugins").write_text("[].")
        self._environment = {
            **os.environ,
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the node, so that its pid is the node's
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none"
            ),
        }

    def url(self, host: str = "%2F") -> str:
        """The address of a virtual host."""
        return f"amqp://{USER}:{USER}@127.0.0.1:{self._port}/{host}"

    def secure_url(self, url: str) -> str:
        """The address over TLS of what `url` leads to. Its certificate is one that nobody knows."""
        return url.replace("amqp:", "amqps:").replace(f":{self._port}", f":{self._secure_port}")

    @asynccontextmanager
    async def new_host(self) -> AsyncIterator[str]:
        """The URL of a virtual host of one's own, gone at the end."""
        host = f"t{secrets.token_hex(4)}"
        self._add(host)
        try:
            yield self.url(host)
        finally:
            await self.recover()
            self._hosts.remove(host)
            self.evaluate(f'rabbit_vhost:delete(<<"{host}">>, <<"test">>)')

    def evaluate(self, expression: str) -> str:
        """What an Erlang expression comes to on the node. Fails where it fails."""
        if self._control is None:
            name = f"control{self._port}@localhost"
            script = _EVALUATE % self._name
            self._control = subprocess.Popen(
                ["erl", "-noshell", "-hidden", "-sname", name, "-eval", script],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._control.stdin is not None
        assert self._control.stdout is not None
        self._control.stdin.write(expression + ".\n")
        self._control.stdin.flush()
        answer = self._control.stdout.readline().strip()
        if not answer.startswith("{value,"):
            raise RuntimeError(f"the node did not evaluate {expression!r}: {answer}")
        return answer.removeprefix("{value,").rpartition(",")[0]

    async def start(self) -> None:
        """Runs it until it answers; harmless when it runs."""
        if self._epmd is None:
            self._epmd = self._spawn("epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1")
        if self._node is None:
            self._node = self._spawn(str(self._server))
        async with asyncio.timeout(START):
            while not await self._greets():
                if self._node.poll() is not None:
                    raise RuntimeError(f"the node ended: {(self._folder / 'output').read_text()}")
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Ends it as an operator does."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """Ends it as a power cut does."""
        await self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Has it answer nothing, with all connections open, until `thaw`."""
        assert self._node is not None
        self._node.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on; harmless when it does."""
        if self._node is not None:
            self._node.send_signal(signal.SIGCONT)

    async def wipe(self) -> None:
        """Kills it, takes all it knew, and starts it with the same virtual hosts, empty."""
        await self.kill()
        shutil.rmtree(self._folder / "data")
        await self.start()
        hosts, self._hosts = self._hosts, []
        for host in hosts:
            self._add(host)

    async def recover(self) -> None:
        """Runs and takes messages, whatever a test has done to it."""
        self.thaw()
        await self.start()
        self.end_alarm()

    def close_connections(self) -> None:
        """Closes every client's connection, as an operator can."""
        self.evaluate(
            '[rabbit_networking:close_connection(P, "test") || P <- rabbit_networking:connections()]'
        )

    def connections(self) -> int:
        """How many clients are connected."""
        return int(self.evaluate("length(rabbit_networking:connections())"))

    def told_of_connections(self) -> str:
        """What its operator sees of its clients, by what they say of their connections."""
        return self.evaluate("rabbit_networking:connection_info_all([client_properties])")

    def raise_alarm(self) -> None:
        """Has it out of memory: whoever publishes is blocked until `end_alarm`."""
        self.evaluate("vm_memory_monitor:set_vm_memory_high_watermark(0.00001)")

    def end_alarm(self) -> None:
        """It has memory again; harmless when it had."""
        self.evaluate(f"vm_memory_monitor:set_vm_memory_high_watermark({WATERMARK})")

    async def close(self) -> None:
        """Ends the node and all that was started for it."""
        await self.kill()
        if self._control is not None:
            self._control.communicate()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()

    def _add(self, host: str) -> None:
        self._hosts.append(host)
        self.evaluate(f'rabbit_vhost:add(<<"{host}">>, <<"test">>)')
        arguments = f'<<"{USER}">>, <<"{host}">>, <<".*">>, <<".*">>, <<".*">>, <<"test">>'
        self.evaluate(f"rabbit_auth_backend_internal:set_permissions({arguments})")

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        """A child that dies with the tests, however they end."""
        with (self._folder / "output").open("ab") as output:
            return subprocess.Popen(
                [*TIED, *command],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._folder,
            )

    async def _greets(self) -> bool:
        """Whether it answers a client's first bytes."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        try:
            writer.write(b"AMQP\x00\x00\x09\x01")
            async with asyncio.timeout(START):
                return await reader.read(1) == b"\x01"
        except OSError:
            return False
        finally:
            writer.close()

    async def _end(self, how: signal.Signals) -> None:
        if self._node is None:
            return
        self._node.send_signal(how)
        await asyncio.to_thread(self._node.wait, START)
        self._node = None


@asynccontextmanager
async def running_node(server: Path) -> AsyncIterator[RabbitNode]:
    """A node for as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="batchmill-rabbit-", ignore_cleanup_errors=True) as folder:
        node = RabbitNode(server, Path(folder))
        try:
            await node.start()
            yield node
        finally:
            await node.close()

"""What the kernel says of connections is read as it is meant."""

import pytest

from binance_proxy.adapters.zeromq.connections import FULL_BYTES, LOOKS, Connections, Door, queues

HEAD = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def line(local: bytes, peer: bytes, state: bytes, queued: int) -> bytes:
    return b"   0: %s %s %s %08X:00000000 00:00000000 00000000     0        0 1 1 0 20 4 30 10 -1\n" % (
        local,
        peer,
        state,
        queued,
    )


def test_tells_what_waits_for_whom_on_a_port() -> None:
    table = HEAD + b"".join(
        [
            line(b"0100007F:15B3", b"0100007F:C350", b"01", 2_626_560),
            line(b"0100007F:15B3", b"0100007F:C351", b"01", 0),
            line(b"0100007F:15B3", b"00000000:0000", b"0A", 7),  # listening
            line(b"0100007F:15B3", b"0100007F:C352", b"08", 7),  # closing
            line(b"0100007F:15B4", b"0100007F:C353", b"01", 7),  # another port
            line(b"0100007F:C350", b"0100007F:15B3", b"01", 7),  # the other end
            line(b"0B00000A:15B3", b"0C00000A:0050", b"01", 9),
        ]
    )
    assert queues([table], 5555) == {"127.0.0.1:50000": 2_626_560, "10.0.0.12:80": 9}
    assert queues([table], 5556) == {"127.0.0.1:50003": 7}
    assert queues([], 5555) == queues([b"nonsense \xff"], 5555) == {}


def test_an_address_of_ip_version_6_is_read_too() -> None:
    local, peer = b"00000000000000000000000001000000:15B3", b"B80D0120000000000000000001000000:C350"
    assert queues([HEAD + line(local, peer, b"01", 5)], 5555) == {"[2001:db8::1]:50000": 5}


class Quiet:
    """A monitor that nothing comes from."""


async def test_a_queue_lags_once_it_has_stayed_full() -> None:
    waiting = {b"C350": 0, b"C351": 0}

    def table() -> list[bytes]:
        lines = [
            line(b"0100007F:15B3", b"0100007F:" + port, b"01", queued) for port, queued in waiting.items()
        ]
        return [HEAD + b"".join(lines)]

    connections = Connections([Door("tcp://127.0.0.1:5555", Quiet())], table)

    def lagging() -> list[str]:
        [door] = connections.status()
        found = [one["peer"] for one in door["queued"] if one["lagging"]]
        assert door["lagging"] == len(found)
        return found

    waiting[b"C350"] = FULL_BYTES
    for look in range(LOOKS):
        assert lagging() == []
        waiting[b"C351"] = FULL_BYTES * (look % 2)  # full now and then, which is no harm
        await connections.look()
    assert lagging() == ["127.0.0.1:50000"]
    waiting[b"C350"] = FULL_BYTES - 1
    await connections.look()
    assert lagging() == []


async def test_only_the_longest_queues_are_shown() -> None:
    lines = [
        line(b"0100007F:15B3", b"0100007F:%04X" % (1_000 + number), b"01", number) for number in range(99)
    ]
    connections = Connections([Door("tcp://127.0.0.1:5555", Quiet())], lambda: [HEAD + b"".join(lines)])
    await connections.look()
    [door] = connections.status()
    assert [one["bytes"] for one in door["queued"]] == list(range(98, 78, -1))


@pytest.mark.parametrize("address", ["ipc:///run/x", "inproc://x"])
async def test_what_is_no_tcp_has_no_queues(address: str) -> None:
    connections = Connections(
        [Door(address, Quiet())], lambda: [line(b"0100007F:15B3", b"0100007F:C350", b"01", 9)]
    )
    await connections.look()
    assert connections.status()[0]["queued"] == []

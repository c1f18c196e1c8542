"""What the front promises, with a clock of our own: examples, then any history."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from binance_proxy.adapters.zeromq import dispatch as module
from binance_proxy.adapters.zeromq.asks import EACH_BYTES, Cancel, Dismiss, Hand, Reply
from binance_proxy.adapters.zeromq.dispatch import CLIENT_BYTES, SILENT_S, Dispatch
from binance_proxy.adapters.zeromq.rpc import Fault

TIMEOUT_MS = 10_000
TIMEOUT_S = TIMEOUT_MS / 1_000
LATER_S = 0.5


class Room:
    """A `Dispatch` with a clock, and all that it did."""

    def __init__(self, *, queue: int = 1_000, workers: tuple[int, ...] = ()) -> None:
        self.dispatch = Dispatch(queue)
        self.now = 100.0
        self.hands: list[Hand] = []
        self.replies: list[tuple[str, object]] = []
        self.others: list[object] = []
        for at, slots in enumerate(workers):
            self.hello(f"w{at}", slots)

    def hello(self, worker: str, slots: int) -> None:
        self.dispatch.hello(self.now, worker.encode(), slots)
        self.look()

    def ask(
        self, client: str, ticket: str, *, timeout_ms: int = TIMEOUT_MS, wants_answer: bool = True
    ) -> None:
        self.dispatch.ask(
            self.now, client.encode(), ticket, ticket.encode(), timeout_ms, wants_answer=wants_answer
        )
        self.look()

    def answer(self, ticket: str, *frames: bytes) -> None:
        """Have the worker that has it say so."""
        hand = next(one for one in reversed(self.hands) if one.body == ticket.encode())
        self.dispatch.answered(self.now, hand.worker, hand.number, frames)
        self.look()

    def die(self, worker: str) -> None:
        self.dispatch.died(self.now, worker.encode())
        self.look()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.dispatch.tick(self.now)
        self.look()

    def look(self) -> None:
        for deed in self.dispatch.take():
            if isinstance(deed, Hand):
                self.hands.append(deed)
            elif isinstance(deed, Reply):
                what = deed.answer.code if isinstance(deed.answer, Fault) else deed.answer
                self.replies.append((deed.ticket, what))
            else:
                self.others.append(deed)

    @property
    def handed(self) -> list[str]:
        return [one.body.decode() for one in self.hands]

    def heard(self, *workers: str) -> None:
        for worker in workers:
            self.dispatch.hello(self.now, worker.encode(), 1)


# An answer


def test_a_request_goes_to_a_worker_and_its_answer_comes_back():
    room = Room(workers=(1,))
    room.ask("a", "a1")
    room.answer("a1", b"body", b"arrow")
    assert room.replies == [("a1", (b"body", b"arrow"))]


def test_a_worker_is_told_how_long_it_has():
    room = Room(workers=(1,))
    room.ask("a", "a1", timeout_ms=4_000)
    room.ask("a", "a2", timeout_ms=4_000)
    room.now += 1
    room.answer("a1", b"body")
    assert [one.left_s for one in room.hands] == [4.0, 3.0]


def test_requests_go_to_the_worker_with_most_room():
    room = Room(workers=(2, 3))
    for one in "abcd":
        room.ask(one, one)
    assert [one.worker for one in room.hands] == [b"w1", b"w0", b"w1", b"w0"]


def test_a_request_waits_for_a_worker():
    room = Room()
    room.ask("a", "a1")
    assert room.handed == []
    room.hello("w0", 1)
    assert room.handed == ["a1"]


def test_an_answer_that_comes_twice_is_sent_once():
    room = Room(workers=(1,))
    room.ask("a", "a1")
    room.answer("a1", b"body")
    room.answer("a1", b"again")
    assert room.replies == [("a1", (b"body",))]


def test_a_worker_that_answers_nothing_is_our_fault():
    room = Room(workers=(1,))
    room.ask("a", "a1")
    room.answer("a1")
    assert room.replies == [("a1", -32603)]


def test_a_notification_is_done_and_not_answered():
    room = Room(workers=(1,))
    room.ask("a", "a1", wants_answer=False)
    room.answer("a1")
    room.ask("a", "a2", wants_answer=False)
    room.pass_time(TIMEOUT_S)
    assert room.handed == ["a1", "a2"]
    assert room.replies == []


# Deadlines


def test_a_request_that_no_worker_takes_fails_at_its_deadline():
    room = Room()
    room.ask("a", "a1", timeout_ms=4_000)
    room.pass_time(3.9)
    assert room.replies == []
    room.pass_time(0.1)
    assert room.replies == [("a1", -32001)]


def test_a_worker_is_told_to_stop_at_the_deadline_and_what_it_says_then_is_dropped():
    room = Room(workers=(1,))
    room.ask("a", "a1")
    room.heard("w0")
    room.pass_time(TIMEOUT_S)
    assert room.replies == [("a1", -32001)]
    assert room.others == [Cancel(b"w0", room.hands[0].number)]
    room.answer("a1", b"late")
    assert room.replies == [("a1", -32001)]


def test_a_slot_is_free_again_when_the_worker_has_stopped():
    room = Room(workers=(1,))
    room.ask("a", "a1", timeout_ms=1_000)
    room.pass_time(1.0)
    room.ask("a", "a2")
    assert room.handed == ["a1"]
    room.answer("a1")
    assert room.handed == ["a1", "a2"]


def test_a_worker_that_does_not_stop_is_given_up():
    room = Room(workers=(1,))
    room.ask("a", "a1", timeout_ms=1_000)
    room.pass_time(1.0)
    for _ in range(2):
        room.heard("w0")
        room.pass_time(SILENT_S / 2)
    assert room.others[-1] == Dismiss(b"w0")
    assert room.replies == [("a1", -32001)]
    assert room.dispatch.workers == 0


def test_it_says_when_something_is_due():
    room = Room()
    assert room.dispatch.wake_at() is None
    room.ask("a", "a1", timeout_ms=4_000)
    assert room.dispatch.wake_at() == room.now + 4
    room.ask("a", "a2", timeout_ms=2_000)
    assert room.dispatch.wake_at() == room.now + 2


# Workers that die


def test_what_a_dead_worker_was_at_goes_to_another_first():
    room = Room(workers=(2, 2))
    for one in ("a1", "a2", "a3", "a4", "a5"):
        room.ask("a", one)
    handed = room.handed
    lost = [one.body.decode() for one in room.hands if one.worker == b"w0"]
    room.hello("w2", 4)
    room.die("w0")
    room.hello("w3", 4)
    assert room.handed[: len(handed)] == handed
    again = [one for one in room.handed if room.handed.count(one) > 1]
    assert set(again) == set(lost)
    room = Room(workers=(1,))
    room.ask("a", "a1")
    room.ask("b", "b1")
    room.ask("a", "a2")
    room.die("w0")
    room.hello("w1", 1)
    for one in ("a1", "b1", "a2"):
        room.answer(one, b"")
    assert room.handed == ["a1", "a1", "b1", "a2"]


def test_several_requests_of_a_dead_worker_keep_their_order():
    room = Room(workers=(3,))
    for one in ("a1", "a2", "a3", "a4"):
        room.ask("a", one)
    room.die("w0")
    room.hello("w1", 3)
    assert room.handed == ["a1", "a2", "a3", "a1", "a2", "a3"]


def test_a_request_under_which_two_workers_died_fails():
    room = Room(workers=(1, 1))
    room.ask("a", "a1")
    room.die(room.hands[-1].worker.decode())
    assert room.replies == []
    room.die(room.hands[-1].worker.decode())
    assert room.replies == [("a1", -32008)]


def test_a_worker_that_is_silent_is_dead():
    room = Room(workers=(1,))
    room.ask("a", "a1", timeout_ms=60_000)
    room.pass_time(SILENT_S - 0.1)
    assert room.others == []
    room.pass_time(0.1)
    assert room.others == [Dismiss(b"w0")]
    room.hello("w1", 1)
    assert room.handed == ["a1", "a1"]


def test_workers_that_fall_silent_together_count_as_one_death():
    room = Room(workers=(1, 1))
    room.ask("a", "a1", timeout_ms=60_000)
    room.pass_time(SILENT_S)
    assert room.replies == []
    room.hello("w2", 1)
    assert room.handed == ["a1", "a1"]


def test_what_a_worker_says_that_was_given_up_is_dropped():
    room = Room(workers=(1,))
    room.ask("a", "a1", timeout_ms=60_000)
    room.pass_time(SILENT_S)
    room.dispatch.answered(room.now, b"w0", room.hands[0].number, (b"late",))
    room.hello("w0", 1)
    room.dispatch.answered(room.now, b"w0", room.hands[0].number, (b"late",))
    room.look()
    assert room.replies == []
    room.answer("a1", b"body")
    assert room.replies == [("a1", (b"body",))]


# Fairness


def test_clients_take_turns():
    room = Room(workers=(1,))
    for one in ("a1", "a2", "a3"):
        room.ask("a", one)
    room.ask("b", "b1")
    room.ask("c", "c1")
    for one in ("a1", "a2", "b1", "c1"):
        room.answer(one, b"")
    assert room.handed == ["a1", "a2", "b1", "c1", "a3"]


def test_a_client_alone_has_all_slots_but_the_last():
    room = Room(workers=(4, 4))
    for at in range(20):
        room.ask("a", f"a{at}")
    assert len(room.handed) == 7
    room.ask("b", "b1")
    assert room.handed[-1] == "b1"


def test_a_client_alone_has_all_of_three_slots():
    room = Room(workers=(3,))
    for at in range(20):
        room.ask("a", f"a{at}")
    assert len(room.handed) == 3


def test_while_another_waits_a_client_holds_at_most_half_of_the_slots():
    room = Room()
    for at in range(20):
        room.ask("a", f"a{at}")
        room.ask("b", f"b{at}")
    room.hello("w0", 8)
    assert sorted(one[0] for one in room.handed) == ["a"] * 4 + ["b"] * 3


def test_slots_that_one_client_may_not_have_go_to_whoever_may():
    room = Room()
    for at in range(20):
        room.ask("a", f"a{at}")
    for at in range(3):
        room.ask("b", f"b{at}")
    room.hello("w0", 9)
    assert sorted(one[0] for one in room.handed) == ["a"] * 5 + ["b"] * 3


# Bounds


def test_a_client_that_has_too_much_waiting_is_refused_at_once():
    room = Room(queue=2)
    for one in ("a1", "a2", "a3"):
        room.ask("a", one)
    room.ask("b", "b1")
    assert room.replies == [("a3", -32002)]
    assert room.dispatch.waiting == 3


def test_bytes_are_counted_too(monkeypatch):
    size = len("a1") + EACH_BYTES
    monkeypatch.setattr(module, "CLIENT_BYTES", 2 * size)
    monkeypatch.setattr(module, "ALL_BYTES", 3 * size)
    room = Room()
    for one in ("a1", "a2", "a3", "b1", "c1"):
        room.ask(one[0], one)
    assert room.replies == [("a3", -32002), ("c1", -32002)]
    assert CLIENT_BYTES > 1_000 * EACH_BYTES


def test_what_waits_no_more_is_counted_no_more(monkeypatch):
    monkeypatch.setattr(module, "CLIENT_BYTES", 2 * (len("a1") + EACH_BYTES))
    room = Room(workers=(1,))
    for at in range(9):
        room.ask("a", f"a{at}")
        if at:
            room.answer(f"a{at - 1}", b"")
    assert [what for _, what in room.replies] == [(b"",)] * 8


def test_nothing_is_remembered_of_who_has_nothing_here():
    room = Room(queue=1, workers=(1,))
    for one in ("a1", "a2", "a3"):
        room.ask("a", one)
    room.ask("b", "b1")
    room.answer("a1", b"")
    room.pass_time(TIMEOUT_S)
    assert room.dispatch.clients == 1  # a worker is still at something of it
    room.answer("a2")
    assert room.dispatch.clients == 0
    assert room.dispatch.waiting == room.dispatch.in_progress == 0


def test_deadlines_of_what_is_over_do_not_pile_up():
    room = Room(workers=(1,))
    for at in range(5_000):
        room.ask("a", f"a{at}")
        room.answer(f"a{at}", b"")
    assert len(room.dispatch._dues) <= 1_100


# Clients that do not take their answers, or are gone


def test_nothing_is_worked_out_for_a_client_that_takes_nothing():
    room = Room(workers=(1,))
    room.dispatch.pause(b"a")
    room.ask("a", "a1")
    room.ask("b", "b1")
    assert room.handed == ["b1"]
    room.answer("b1", b"")
    room.dispatch.resume(room.now, b"a")
    room.look()
    assert room.handed == ["b1", "a1"]


def test_what_waits_for_it_fails_at_its_deadline_all_the_same():
    room = Room(workers=(1,))
    room.dispatch.pause(b"a")
    room.ask("a", "a1")
    room.pass_time(TIMEOUT_S)
    assert room.replies == [("a1", -32001)]


def test_a_client_that_is_gone_leaves_nothing():
    room = Room(workers=(1,))
    room.ask("a", "a1")
    room.ask("a", "a2")
    room.dispatch.pause(b"a")
    room.dispatch.left(room.now, b"a")
    room.look()
    assert room.others == [Cancel(b"w0", room.hands[0].number)]
    assert room.dispatch.waiting == 0
    room.answer("a1", b"late")
    room.pass_time(TIMEOUT_S)
    assert room.handed == ["a1"]
    assert room.replies == []
    assert room.dispatch.clients == 0


def test_a_worker_that_is_told_to_stop_has_its_time_whatever_the_deadline_was():
    room = Room(workers=(1,))
    room.ask("a", "a1")
    room.pass_time(TIMEOUT_S - 1)
    room.dispatch.left(room.now, b"a")
    room.look()
    room.heard("w0")
    room.pass_time(SILENT_S - 1)
    room.heard("w0")
    assert room.others == [Cancel(b"w0", room.hands[0].number)]
    room.pass_time(1)
    assert room.others[-1] == Dismiss(b"w0")


def test_at_the_end_everybody_is_told():
    room = Room(workers=(1,))
    room.ask("a", "a1")
    room.ask("b", "b1")
    room.dispatch.close(Fault(-32003, "the bridge ends", "Away"))
    room.look()
    assert sorted(room.replies) == [("a1", -32003), ("b1", -32003)]


# Any history

CLIENTS = st.sampled_from(["a", "b", "c", "d"])
QUEUE = 5


class AnyHistory(RuleBasedStateMachine):
    """Clients ask, stall and leave; workers come, answer, fall silent and die."""

    def __init__(self) -> None:
        super().__init__()
        self.dispatch = Dispatch(QUEUE)
        self.now = 0.0
        self.deadlines: dict[int, tuple[str, float]] = {}
        """Of requests that are to be answered, by ticket."""
        self.replied: set[int] = set()
        self.clients: dict[int, str] = {}
        self.slots: dict[bytes, int] = {}
        self.at: dict[tuple[bytes, int], int] = {}
        """What is a living worker's, also if it was told to stop."""
        self.waiting: dict[int, str] = {}
        self.paused: set[str] = set()
        self.deaths: dict[int, int] = {}
        self.next = 0

    def holds(self, client: str) -> int:
        return sum(self.clients[ticket] == client for ticket in self.at.values())

    def forget(self, worker: bytes) -> None:
        for key in [key for key in self.at if key[0] == worker]:
            ticket = self.at.pop(key)
            self.deaths[ticket] = self.deaths.get(ticket, 0) + 1
            if ticket in self.deadlines:
                self.waiting[ticket] = self.clients[ticket]

    def look(self) -> None:
        beyond_half = set()
        for deed in self.dispatch.take():
            if isinstance(deed, Hand):
                ticket = int(deed.body)
                client = self.waiting.pop(ticket)
                assert client not in self.paused
                self.at[deed.worker, deed.number] = ticket
                assert sum(key[0] == deed.worker for key in self.at) <= self.slots[deed.worker]
                if self.holds(client) > max(sum(self.slots.values()) // 2, 1):
                    beyond_half.add(client)
            elif isinstance(deed, Reply):
                ticket = deed.ticket
                client, deadline = self.deadlines.pop(ticket)
                assert ticket not in self.replied
                self.replied.add(ticket)
                assert deed.client.decode() == client
                if isinstance(deed.answer, Fault):
                    code = deed.answer.code
                    assert code in {-32001, -32002, -32008}
                    assert code != -32001 or self.now >= deadline
                    assert code != -32002 or self.waiting.pop(ticket) == client
                    assert code != -32008 or self.deaths[ticket] == 2
                self.waiting.pop(ticket, None)
            elif isinstance(deed, Dismiss):
                del self.slots[deed.worker]
                self.forget(deed.worker)
        for client in beyond_half:
            assert set(self.waiting.values()) - self.paused <= {client}

    @rule(client=CLIENTS, timeout_s=st.sampled_from([1, 10, 60]), times=st.integers(1, 4))
    def ask(self, client: str, timeout_s: int, times: int) -> None:
        for _ in range(times):
            self.next += 1
            ticket = self.next
            self.deadlines[ticket] = client, self.now + timeout_s
            self.clients[ticket] = client
            self.waiting[ticket] = client
            self.dispatch.ask(self.now, client.encode(), ticket, b"%d" % ticket, timeout_s * 1_000)
            self.look()

    @precondition(lambda self: len(self.slots) < 4)
    @rule(slots=st.integers(1, 5))
    def come(self, slots: int) -> None:
        self.next += 1
        worker = b"w%d" % self.next
        self.slots[worker] = slots
        self.dispatch.hello(self.now, worker, slots)
        self.look()

    @precondition(lambda self: self.at)
    @rule(data=st.data(), empty=st.booleans())
    def answer(self, data: st.DataObject, empty: bool) -> None:
        worker, number = data.draw(st.sampled_from(sorted(self.at)))
        ticket = self.at.pop((worker, number))
        given_up = ticket not in self.deadlines
        self.dispatch.answered(self.now, worker, number, () if empty and given_up else (b"body",))
        self.look()
        assert ticket not in self.deadlines

    @precondition(lambda self: self.slots)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.slots)))
        del self.slots[worker]
        self.forget(worker)
        self.dispatch.died(self.now, worker)
        self.look()

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 20.0]), data=st.data())
    def pass_time(self, seconds: float, data: st.DataObject) -> None:
        self.now += seconds
        for worker in sorted(self.slots):
            if data.draw(st.booleans()):
                self.dispatch.hello(self.now, worker, self.slots[worker])
        self.dispatch.tick(self.now)
        self.look()

    @rule(client=CLIENTS)
    def pause(self, client: str) -> None:
        self.paused.add(client)
        self.dispatch.pause(client.encode())

    @precondition(lambda self: self.paused)
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(sorted(self.paused)))
        self.paused.discard(client)
        self.dispatch.resume(self.now, client.encode())
        self.look()

    @rule(client=CLIENTS)
    def leave(self, client: str) -> None:
        for ticket in [ticket for ticket, (one, _) in self.deadlines.items() if one == client]:
            del self.deadlines[ticket]
            self.waiting.pop(ticket, None)
        self.paused.discard(client)
        self.dispatch.left(self.now, client.encode())
        self.look()

    @invariant()
    def everything_is_answered_by_its_deadline(self) -> None:
        self.dispatch.tick(self.now)
        self.look()
        assert all(deadline > self.now for _, deadline in self.deadlines.values())

    @invariant()
    def it_counts_right(self) -> None:
        assert self.dispatch.waiting == len(self.waiting)
        assert self.dispatch.in_progress == len(self.at)
        assert self.dispatch.workers == len(self.slots)
        assert self.dispatch._open == len(self.waiting) + len(self.at)

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        free = sum(self.slots.values()) - len(self.at)
        wait = {client for client in self.waiting.values() if client not in self.paused}
        assert not (free and any(not self.holds(client) for client in wait))
        if free > 1 and wait:  # then all of them hold half of the slots
            most = max(sum(self.slots.values()) // 2, 1)
            assert len(wait) > 1
            assert all(self.holds(client) >= most for client in wait)

    @invariant()
    def it_is_bounded(self) -> None:
        clients = set(self.waiting.values()) | {self.clients[ticket] for ticket in self.at.values()}
        assert self.dispatch.clients == len(clients | self.paused)
        for client in clients:
            # Those of a worker that died come on top: they have been let in before.
            assert list(self.waiting.values()).count(client) <= QUEUE + 4 * 5
        assert len(self.dispatch._dues) <= 2 * self.dispatch._open + 1_001


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


def test_the_bound_of_what_may_wait_holds_when_it_is_asked_for():
    room = Room(queue=QUEUE, workers=(2,))
    for at in range(20):
        room.ask("a", f"a{at}")
    assert room.dispatch.waiting == QUEUE
    assert len(room.replies) == 20 - QUEUE - 2


@pytest.mark.parametrize("workers", [1, 3])
def test_a_hundred_clients_that_ask_much_get_the_same(workers):
    room = Room(workers=(4,) * workers)
    for at in range(10):
        for client in range(100):
            room.ask(f"{client}", f"{client}/{at}")
    for at in range(500):
        room.answer(room.handed[at], b"body")
    shares = [sum(one.startswith(f"{client}/") for one, _ in room.replies) for client in range(100)]
    assert min(shares) >= 4
    assert max(shares) <= 6

import asyncio

import pytest

from serving import Scripted, served
from tunesmith.serve import talk
from tunesmith.serve.answering import Job, Room
from tunesmith.serve.asked import ChatBody
from tunesmith.serve.figures import Figures
from tunesmith.serve.limits import Limits
from tunesmith.serve.refusal import Refusal

BODY = ChatBody(messages=[{"role": "user", "content": "a"}], n=2)


def job(engine, room=None):
    known = served(engine, limits=Limits(waiting=1))
    room = room or Room(known, places=2)
    return Job([talk.chat(BODY, known)], known, room, Figures()), room


def test_places_are_taken_at_once_and_given_back_at_the_end():
    made, room = job(Scripted("one two"))
    assert room.taken == 2
    with pytest.raises(Refusal, match="2 answers"):
        room.take(2)

    async def hear():
        return [(answer.number, delta.finish) async for answer, delta in made.deltas()]

    said = asyncio.run(hear())
    assert sorted(n for n, finish in said if finish) == [0, 1]
    assert room.taken == 0


def test_who_stops_listening_cancels_all_that_is_left():
    engine = Scripted("one two three four")
    made, room = job(engine)

    async def hear():
        deltas = made.deltas()
        await anext(deltas)
        await deltas.aclose()

    asyncio.run(hear())
    assert len(engine.cancelled) == 2
    assert room.taken == 0


def test_a_room_that_is_closed_takes_nobody():
    _, room = job(Scripted("a"))
    room.closing = True
    with pytest.raises(Refusal) as refused:
        room.take(1)
    assert refused.value.status == 503

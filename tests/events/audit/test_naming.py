"""One act is one defect, and what follows from it is none."""

from hashlib import sha256

import msgspec

from events.audit.alignment import Parting
from events.audit.defect import Defect
from events.audit.naming import Explanations, Place, Unsound, name_events, name_history
from events.audit.naming_contents import Doubt, Fault, name_contents
from events.audit.tree_check import Disagreement, Mark, around

SIZES = (10, 20, 30)
PLACES = {5: Place("batch_1", 2), 12: Place("file-1", 1)}


def leaf(number: int) -> bytes:
    return sha256(b"%d" % number).digest()


def named(*partings: Parting, unsound: tuple[Unsound, ...] = (), head: int = 30) -> list[Defect]:
    return name_events(partings, unsound, PLACES, head=head, laid=30, size=30, sizes=SIZES)


def brief(defects: list[Defect]) -> list[tuple[str, int | None, int | None]]:
    return [(one.kind, one.position, one.upto) for one in defects]


def test_events_that_stand_in_each_others_places_are_one_defect() -> None:
    defects = named(Parting(5, leaf(12), 5, leaf(5)), Parting(12, leaf(5), 12, leaf(12)))
    assert brief(defects) == [("events_reordered", 5, 12)]
    assert (defects[0].after, defects[0].before) == (None, 10)


def test_an_event_that_went_far_away_is_one_defect() -> None:
    assert brief(named(Parting(None, None, 5, leaf(5)), Parting(1 << 40, leaf(5), None, None))) == [
        ("events_reordered", 5, 1 << 40)
    ]


def test_a_run_of_missing_events_is_one_defect_and_at_the_end_a_cut() -> None:
    gone = [Parting(None, None, number, leaf(number)) for number in (12, 13, 14)]
    assert brief(named(*gone)) == [("event_deleted", 12, 14)]
    tail = [Parting(None, None, number, leaf(number)) for number in (29, 30)]
    assert brief(named(*tail, head=28)) == [("tail_cut", 29, 30)]
    assert brief(named(*tail, head=31)) == [("event_deleted", 29, 30)]


def test_a_changed_event_is_one_defect_whether_its_digests_fit_or_not() -> None:
    parting = Parting(5, leaf(0), 5, leaf(5))
    broken = Unsound(5, PLACES[5], "metadata", "aa", "bb")
    assert brief(named(parting)) == brief(named(parting, unsound=(broken,))) == [("event_changed", 5, None)]
    [defect] = named(unsound=(broken,))
    assert (defect.kind, defect.stream, defect.version, defect.expected) == (
        "event_changed",
        "batch_1",
        2,
        "aa",
    )


def test_an_event_that_nobody_sealed_is_inserted() -> None:
    [defect] = named(Parting(12, leaf(0), None, None))
    assert (defect.kind, defect.stream, defect.after, defect.before) == ("event_inserted", "file-1", 10, 20)


def test_each_event_that_is_gone_explains_the_traces_of_one_stream() -> None:
    known = Explanations([Defect("event_deleted", "", position=12, upto=12)])
    assert not known.explain("batch_1", 14, 20)
    assert Explanations([Defect("event_deleted", "", position=12, upto=12)]).explain("batch_3", 11, 12)
    assert known.explain("batch_1", 5, 20)
    assert known.explain("batch_1", 5, 20)
    assert not known.explain("batch_2", 5, 20)
    assert known.complete(Defect("event_deleted", "it", position=12)).stream == "batch_1"


def test_a_checkpoint_that_later_ones_contradict_was_replaced_but_a_witness_stands() -> None:
    ours = Disagreement(Mark(10, leaf(1), "the database"), "aa", 0)
    theirs = Disagreement(Mark(20, leaf(2), "there", witness=True), "bb", 5)
    kinds = [one.kind for one in name_history([ours, theirs], 30, 5, explained=False)]
    assert kinds == ["checkpoint_replaced", "history_rewritten"]
    assert [one.kind for one in name_history([theirs], 30, 25, explained=False)] == ["checkpoint_replaced"]
    assert name_history([theirs], 0, 0, explained=True) == []


def fault(key: str, position: int, expected: str, found: str | None) -> Fault:
    return Fault("attachment", key, position, "batch_1", 1, expected, found)


def contents(*faults: Fault, doubts: tuple[Doubt, ...] = (), gone: int = 0) -> list[str]:
    def near(position: int) -> tuple[int | None, int | None]:
        return around(position, SIZES)

    return [one.kind for one in name_contents(faults, doubts, [], set(), gone, near)]


def test_bodies_in_each_others_places_are_one_defect() -> None:
    assert contents(fault("a/0", 5, "aa", "bb"), fault("b/0", 6, "bb", "aa")) == ["attachment_swapped"]
    assert contents(fault("a/0", 5, "aa", "cc"), fault("b/0", 6, "bb", "dd")) == ["attachment_changed"] * 2


def test_a_body_that_went_to_where_none_belongs_is_one_defect() -> None:
    moved = msgspec.structs.replace(fault("a/0", 5, "aa", "aa"), there="a/9")
    assert contents(moved) == ["attachment_swapped"]


def test_what_is_missing_may_be_so_by_an_event_that_is_gone() -> None:
    assert contents(fault("a/0", 5, "aa", None)) == ["attachment_deleted"]
    assert contents(fault("a/0", 5, "aa", None), gone=4) == ["attachment_deleted"]
    assert contents(fault("a/0", 5, "aa", None), gone=9) == []


def test_results_are_doubted_only_where_nothing_else_is_wrong() -> None:
    doubt = Doubt("batch_1", "file-1", 7, "they differ")
    assert contents(doubts=(doubt,)) == ["results_differ"]
    assert contents(fault("a/0", 5, "aa", "cc"), doubts=(doubt,)) == ["attachment_changed"]

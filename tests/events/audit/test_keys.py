"""Which key signs, as a stream of events."""

from events.audit.keys import AdoptedKey, AdoptKey, AuditKeyAdopted, AuditKeys, decide, evolve


def test_a_key_is_adopted_once_and_says_which_one_it_follows() -> None:
    [first] = decide(None, AdoptKey("one"))
    assert first == AuditKeyAdopted("one", previous=None)
    keys = evolve(None, first, 10)
    assert decide(keys, AdoptKey("one")) == []
    [second] = decide(keys, AdoptKey("two"))
    assert second == AuditKeyAdopted("two", previous="one")
    keys = evolve(keys, second, 20)
    assert keys == AuditKeys((AdoptedKey("one", 10), AdoptedKey("two", 20)))
    assert keys.current == "two"

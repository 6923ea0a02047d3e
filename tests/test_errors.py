"""Texts of which the lines for users are made."""

from tasks.errors import did_you_mean, listing, shortened


def test_names_are_listed_as_far_as_they_are_shown() -> None:
    assert listing(()) == "none"
    assert listing(("a", "b")) == "'a', 'b'"
    assert listing(("a", "b", "c"), shown=1) == "'a' and 2 more"
    assert listing(("block/" + "a" * 90 + "/last",), most=30) == f"'{shortened('block/' + 'a' * 90 + '/last', 30)}'"


def test_what_is_near_to_nothing_has_no_hint() -> None:
    assert did_you_mean("qqq", ("abc",)) == ""

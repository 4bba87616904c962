from tests.docs.architecture import PAGE, direct, made, page


def test_the_picture_of_the_rooms_is_true() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert made() in text
    assert text == page(), "write it anew: python -m tests.docs.architecture"


def test_arrows_that_follow_from_others_are_left_out() -> None:
    rooms = {"floor": set(), "wall": {"floor"}, "window": {"wall", "floor"}, "roof": {"window", "wall", "floor"}}
    assert [direct(rooms, room) for room in rooms] == [set(), {"floor"}, {"wall"}, {"window"}]

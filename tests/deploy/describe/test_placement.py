import pytest

from deploy.describe.placement import Own, Place, place

ONE = {0: tuple(range(8))}
TWO = {0: tuple(range(8)), 1: tuple(range(8, 24))}
# Four cores of two threads each, as most machines number them.
CORES = {0: (0, 4, 1, 5, 2, 6, 3, 7)}


@pytest.mark.parametrize(
    ("nodes", "wanted", "own", "places"),
    [
        pytest.param(ONE, [-1, -1], 0, [Place(4, ""), Place(4, "")], id="one node is shared and nobody is pinned"),
        pytest.param(ONE, [-1] * 20, 0, [Place(1, "")] * 20, id="never less than a thread"),
        pytest.param(ONE, [-1, 0], 3, [Place(3, "0-2"), Place(3, "4-6")], id="own CPUs do not overlap"),
        pytest.param(TWO, [1, 0], 0, [Place(16, "8-23"), Place(8, "0-7")], id="near its GPU"),
        pytest.param(
            TWO, [0, 0, 1], 0, [Place(4, "0-7"), Place(4, "0-7"), Place(16, "8-23")], id="a node's share is its own"
        ),
        pytest.param(
            TWO, [-1] * 3, 0, [Place(8, "8-23"), Place(8, "0-7"), Place(8, "8-23")], id="free ones go where room is"
        ),
        pytest.param(TWO, [0, -1], 4, [Place(4, "0-3"), Place(4, "8-11")], id="free ones stay away from a GPU's node"),
        pytest.param(TWO, [7], 0, [Place(16, "8-23")], id="a node that may not be used leaves it open"),
        pytest.param(TWO, [], 0, [], id="none"),
        pytest.param(ONE, [-1], "auto", [Place(8, "")], id="one alone has all"),
        pytest.param(TWO, [-1], "auto", [Place(24, "")], id="one alone has all nodes"),
        pytest.param(TWO, [0], "auto", [Place(8, "0-7")], id="one alone on its GPU's node has that node"),
        pytest.param(TWO, [0, 1], "auto", [Place(8, "0-7"), Place(16, "8-23")], id="one alone on each node"),
        pytest.param(ONE, [-1] * 2, "auto", [Place(4, "0-3"), Place(4, "4-7")], id="dealt out evenly"),
        pytest.param(
            ONE, [-1] * 3, "auto", [Place(2, "0-1"), Place(3, "2-4"), Place(3, "5-7")], id="none left over that idles"
        ),
        pytest.param(ONE, [-1] * 8, "auto", [Place(1, str(cpu)) for cpu in range(8)], id="one each"),
        pytest.param(ONE, [-1] * 9, "auto", [Place(1, "")] * 9, id="more instances than CPUs share them"),
        pytest.param(CORES, [-1] * 2, 1, [Place(1, "0"), Place(1, "2")], id="on cores of their own"),
        pytest.param(CORES, [-1] * 2, "auto", [Place(4, "0-1,4-5"), Place(4, "2-3,6-7")], id="whole cores"),
        pytest.param(
            TWO,
            [0, 1, 0],
            "auto",
            [Place(4, "0-3"), Place(16, "8-23"), Place(4, "4-7")],
            id="each near its GPU, in the order that was asked for",
        ),
    ],
)
def test_instances_are_placed(
    nodes: dict[int, tuple[int, ...]], wanted: list[int], own: Own, places: list[Place]
) -> None:
    assert place(nodes, wanted, own) == tuple(places)


def test_more_own_cpus_than_a_node_has_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="3 x 3 = 9 CPUs on NUMA node 0, which has 8"):
        place(TWO, [0, 0, 0], 3)

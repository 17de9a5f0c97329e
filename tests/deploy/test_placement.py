import pytest

from deploy.placement import Place, place

ONE = {0: tuple(range(8))}
TWO = {0: tuple(range(8)), 1: tuple(range(8, 24))}


@pytest.mark.parametrize(
    ("nodes", "wanted", "own", "places"),
    [
        pytest.param(ONE, [-1, -1], 0, [Place(4, ""), Place(4, "")], id="one node is shared and nobody is pinned"),
        pytest.param(ONE, [-1] * 20, 0, [Place(1, "")] * 20, id="never less than a thread"),
        pytest.param(ONE, [-1, 0], 3, [Place(3, "0-2"), Place(3, "3-5")], id="own CPUs do not overlap"),
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
    ],
)
def test_instances_are_placed(
    nodes: dict[int, tuple[int, ...]], wanted: list[int], own: int, places: list[Place]
) -> None:
    assert place(nodes, wanted, own) == tuple(places)


def test_more_own_cpus_than_a_node_has_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="3 x 3 = 9 CPUs on NUMA node 0, which has 8"):
        place(TWO, [0, 0, 0], 3)

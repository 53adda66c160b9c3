"""Graphs of calls: their order, their numbers for the plan, and their errors."""

from __future__ import annotations

from typing import Any

import pytest

import nnfast
from nnfast import layers
from nnfast._plan import graph as graph_module
from nnfast._plan.graph import Call, FlatGraph, Graph
from nnfast._plan.symbolic import leaves, packed, symbolic


def names(graph: Graph) -> list[str]:
    return [node.layer.name for node in graph.nodes]


def dense(name: str, units: int = 3) -> Any:
    return layers.Dense(units, name=name)


def test_a_chain_is_numbered_from_its_first_layer() -> None:
    x = nnfast.Input((4,))
    y = dense("b")(dense("a")(x))
    flat = Graph([x], [y]).flat
    assert flat.nodes == [Call(0, (0,), (1,)), Call(1, (1,), (2,))]
    assert (flat.inputs, flat.outputs, flat.paths) == ((0,), (2,), ["a", "b"])
    assert (flat.shapes, flat.dtypes) == ([(4,), (3,), (3,)], ["float32"] * 3)
    assert flat.needed() == list(enumerate(flat.nodes))


def test_nodes_are_in_depth_first_order_and_layers_in_that_of_keras() -> None:
    x, y = nnfast.Input((4,), name="x"), nnfast.Input((3,), name="y")
    left = dense("l2")(dense("l1")(x))
    right = dense("r1")(y)
    graph = Graph([x, y], [layers.add([left, right], name="sum"), right])
    assert names(graph) == ["l1", "l2", "r1", "sum"]
    assert [layer.name for layer in graph.calls] == ["x", "l1", "y", "l2", "r1", "sum"]
    # The layers of the numbers are in the order of the weights.
    assert graph.flat.paths == ["l1", "l2", "r1", "sum"]
    assert graph.flat.nodes[-1] == Call(3, (3, 4), (5,))
    assert graph.flat.outputs == (5, 4)


def test_a_shared_layer_has_several_calls() -> None:
    x, y = nnfast.Input((4,)), nnfast.Input((4,))
    shared = dense("shared")
    flat = Graph([x, y], [layers.subtract([shared(x), shared(y)])]).flat
    assert flat.nodes == [Call(0, (0,), (2,)), Call(0, (1,), (3,)), Call(1, (2, 3), (4,))]
    assert len(flat.layers) == 2


def test_models_are_replaced_by_their_layers() -> None:
    encoder = nnfast.Sequential([dense("a"), dense("b", 2)], name="encoder")
    x, y = nnfast.Input((4,)), nnfast.Input((4,))
    graph = Graph([x, y], [layers.add([encoder(x), encoder(y)], name="add")])
    assert names(graph) == ["encoder", "encoder", "add"]
    assert graph.flat.paths == ["encoder/a", "encoder/b", "add"]
    assert [call.layer for call in graph.flat.nodes] == [0, 1, 0, 1, 2]
    assert [call.inputs for call in graph.flat.nodes] == [(0,), (2,), (1,), (4,), (3, 5)]


def test_all_outputs_of_a_model_are_computed() -> None:
    x = nnfast.Input((4,))
    both = nnfast.Model(x, [dense("a")(x), dense("b")(x)])
    y = nnfast.Input((4,))
    flat = Graph([y], [both(y)[1]]).flat
    assert [call.layer for call in flat.nodes] == [0, 1]
    assert flat.outputs == (2,)
    assert [call.layer for _, call in flat.needed()] == [1]


def test_calls_for_inference_are_marked() -> None:
    x = nnfast.Input((4,))
    base = nnfast.Sequential([nnfast.Input((4,)), dense("a"), layers.Dropout(0.5)])
    flat = Graph([x], [dense("b")(base(x, training=False))]).flat
    assert [call.inference for call in flat.nodes] == [True, True, False]


def test_long_chains_need_no_recursion() -> None:
    x = y = nnfast.Input((1,))
    for i in range(3000):
        y = layers.Flatten(name=f"layer_{i}")(y)
    graph = Graph([x], [y])
    assert len(graph.flat.nodes) == 3000
    assert len(graph.flat.needed()) == 3000


# ---- errors --------------------------------------------------------------------------------------


def test_an_output_that_depends_on_another_input_is_an_error() -> None:
    x, other = nnfast.Input((3,), name="x"), nnfast.Input((3,), name="other")
    y = layers.add([dense("a")(x), dense("b")(other)])
    with pytest.raises(ValueError, match=r"disconnected: layer 'b' needs .*name=other.*\['a'\]"):
        Graph([x], [y])
    with pytest.raises(ValueError, match=r"disconnected: an output needs .*name=other"):
        Graph([x], [dense("c")(x), other])


def test_an_input_that_no_output_needs_is_an_error() -> None:
    x, other = nnfast.Input((3,), name="x"), nnfast.Input((3,), name="other")
    with pytest.raises(ValueError, match=r"No output needs the inputs \['other'\]"):
        Graph([x, other], [dense("a")(x)])
    with pytest.raises(ValueError, match="given twice"):
        Graph([x, x], [dense("a")(x)])


def test_names_must_be_unique() -> None:
    x = nnfast.Input((3,))
    with pytest.raises(ValueError, match="'same' is used 2 times"):
        Graph([x], [dense("same")(dense("same")(x))])


def test_models_within_models_cannot_multiply_without_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each model calls the one before twice, so the number of calls doubles."""
    monkeypatch.setattr(graph_module, "MAX_CALLS", 2**6)
    inner: Any = dense("inner", 3)
    x = nnfast.Input((3,))
    for _ in range(6):
        inner = nnfast.Model(x, inner(inner(x)))
    with pytest.raises(ValueError, match="at most 64 calls"):
        nnfast.Model(x, inner(inner(x)))


# ---- structures ----------------------------------------------------------------------------------


def test_structures_are_flattened_by_sorted_keys_and_packed_again() -> None:
    structure = {"b": [1, (2,)], "a": 3}
    assert leaves(structure) == [3, 1, 2]
    assert packed(structure, [30, 10, 20]) == {"a": 30, "b": [10, (20,)]}
    assert not symbolic(structure)
    assert symbolic([1, {"k": nnfast.Input((1,))}])


def test_the_weights_of_layers_without_calls_are_not_asked_for() -> None:
    assert list(FlatGraph([], [], ()).weights()) == []

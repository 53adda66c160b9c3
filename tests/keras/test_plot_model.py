"""Pictures of models: what the boxes hold, where they are, and the files."""

from __future__ import annotations

import html
import itertools
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import layers
from nnfast.keras.utils import drawings, model_to_dot, plot_model
from nnfast.keras.utils.diagrams import Shown, Style, diagram_of, dot_source
from nnfast.keras.utils.drawings import layout

plotting = pytest.importorskip("matplotlib.image")

EVERYTHING = {
    "show_shapes": True,
    "show_dtype": True,
    "show_layer_names": True,
    "show_layer_activations": True,
    "show_trainable": True,
}


def model() -> Any:
    net = nnfast.Sequential(
        [
            layers.Dense(8, "relu", input_dim=3, name="first"),
            layers.Dropout(0.5, name="drop"),
            layers.Dense(2, name="last"),
        ]
    )
    net.layers[0].trainable = False
    return net


@pytest.fixture(autouse=True)
def without_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw with matplotlib, whatever is installed."""
    monkeypatch.setattr(shutil, "which", lambda name: None)


def pixels(path: Path) -> Any:
    return np.asarray(plotting.imread(str(path)))[..., :3]


def drawn(folder: Path, net: Any, **keywords: Any) -> Any:
    path = folder / "model.png"
    assert plot_model(net, path, **({"dpi": 50} | keywords)) is None
    return pixels(path)


def texts(net: Any, **shown: bool) -> list[list[str]]:
    """Return the texts of the cells of each box."""
    names = ("shapes", "dtype", "layer_names", "layer_activations", "trainable")
    diagram = diagram_of(net, Shown(*(shown.get(name, False) for name in names)))
    return [
        ["".join(piece for piece, _ in cell.text) for row in box for cell in row]
        for box in diagram.boxes
    ]


def test_boxes_hold_what_is_asked_for() -> None:
    net = model()
    assert texts(net) == [["Dense"], ["Dropout"], ["Dense"]]
    assert texts(net, layer_names=True)[1] == ["drop (Dropout)"]
    assert texts(net, shapes=True)[0] == [
        *("Dense", "Input shape: (None, 3)", "Output shape: (None, 8)"),
    ]
    batches = nnfast.Sequential([layers.Input((3,), batch_size=4), layers.Dense(1)])
    assert texts(batches, shapes=True)[0][1:] == ["Input shape: (4, 3)", "Output shape: (4, 1)"]
    assert texts(net, dtype=True)[1] == ["Dropout", "Output dtype: float32"]
    assert [box[1:] for box in texts(net, layer_activations=True)] == [
        *(["Activation: relu"], [], ["Activation: linear"]),
    ]
    assert [box[1:] for box in texts(net, trainable=True)] == [
        *(["Non-trainable"], [], ["Trainable"]),
    ]


def graph() -> Any:
    """Return a model with two inputs, a model that is called twice, and two outputs."""
    encoder = nnfast.Sequential([layers.Dense(2, name="hidden"), layers.Dense(3, name="code")])
    encoder.trainable = False
    a, b = layers.Input((4,), name="a"), layers.Input((4,), name="b")
    both = layers.concatenate([encoder(a), encoder(b)], name="both")
    return nnfast.Model([a, b], [layers.Dense(1, name="out")(both), both])


def test_the_layers_of_graphs_are_connected() -> None:
    nothing = Shown(*[False] * 5)
    assert [box[0] for box in texts(graph())] == [
        "InputLayer",
        "InputLayer",
        "Sequential",
        "Concatenate",
        "Dense",
    ]
    assert diagram_of(graph(), nothing).edges == [(0, 2), (1, 2), (2, 3), (3, 4)]
    expanded = diagram_of(graph(), nothing, expand_nested=True)
    assert [box[0][0].text[0][0] for box in expanded.boxes] == [
        *("InputLayer", "InputLayer", "Dense", "Dense", "Concatenate", "Dense"),
    ]
    assert expanded.edges == [(0, 2), (2, 3), (1, 2), (3, 4), (4, 5)]


def test_boxes_of_graphs_hold_all_inputs() -> None:
    assert texts(graph(), shapes=True)[3][1:] == [
        *("Input shape: [(None, 3), (None, 3)]", "Output shape: (None, 6)"),
    ]
    assert [box[1:] for box in texts(graph(), trainable=True)] == [
        *([], [], ["Non-trainable"], [], ["Trainable"]),
    ]


def test_graphs_are_drawn(tmp_path: Path) -> None:
    plain = drawn(tmp_path, graph())
    expanded = drawn(tmp_path, graph(), expand_nested=True)
    assert expanded.shape[0] > plain.shape[0]
    x = layers.Input((3,))
    layer = layers.Dense(3)
    again = nnfast.Model(x, layer(layers.Activation("tanh")(layer(x))))
    assert diagram_of(again, Shown(*[False] * 5)).edges == [(0, 1), (1, 2), (2, 1)]
    assert drawn(tmp_path, again).shape[0] > 100


@pytest.mark.parametrize("option", EVERYTHING)
def test_every_option_enlarges_the_picture(tmp_path: Path, option: str) -> None:
    plain = drawn(tmp_path, model())
    larger = drawn(tmp_path, model(), **{option: True})
    assert larger.shape[1] > plain.shape[1] or larger.shape[0] > plain.shape[0]


def test_the_direction_turns_the_picture(tmp_path: Path) -> None:
    shapes = {
        rankdir: drawn(tmp_path, model(), rankdir=rankdir) for rankdir in ("TB", "BT", "LR", "RL")
    }
    assert shapes["TB"].shape[0] > shapes["TB"].shape[1]
    assert shapes["LR"].shape[1] > shapes["LR"].shape[0]
    assert shapes["BT"].shape == shapes["TB"].shape
    assert shapes["RL"].shape == shapes["LR"].shape
    assert not np.array_equal(shapes["BT"], shapes["TB"])
    assert not np.array_equal(shapes["RL"], shapes["LR"])


def test_dpi_is_the_resolution(tmp_path: Path) -> None:
    small, large = (drawn(tmp_path, model(), dpi=dpi) for dpi in (50, 100))
    np.testing.assert_allclose(np.divide(large.shape, small.shape)[:2], 2, rtol=0.02)


def test_colors_are_those_of_keras(tmp_path: Path) -> None:
    found = {
        tuple(p) for p in (drawn(tmp_path, model(), **EVERYTHING) * 255).round().reshape(-1, 3)
    }
    black, white, green, red = (0, 0, 0), (255, 255, 255), (34, 139, 34), (178, 34, 34)
    assert {black, white, green, red} <= found


def test_boxes_do_not_overlap_and_arrows_enter_none() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        n = int(rng.integers(2, 12))
        edges = [(a, b) for a, b in itertools.combinations(range(n), 2) if rng.random() < 0.3]
        edges += [(i, i + 1) for i in range(n - 1) if not any(b == i + 1 for _, b in edges)]
        sizes = [(float(a), float(b)) for a, b in rng.uniform(5, 50, (n, 2))]
        centers, arrows = layout(sizes, edges)
        low, high = (np.array(centers) + sign * np.array(sizes) / 2 for sign in (-1, 1))
        for i, j in itertools.combinations(range(n), 2):
            assert (high[i] < low[j]).any() or (high[j] < low[i]).any()
        for (a, b), arrow in zip(edges, arrows, strict=True):
            assert arrow[0] == pytest.approx((high[a][0], centers[a][1]))
            assert arrow[-1] == pytest.approx((low[b][0], centers[b][1]))
            for (x0, y0), (x1, y1) in itertools.pairwise(arrow):
                for t in np.linspace(0.01, 0.99, 25):
                    point = np.array([x0 + t * (x1 - x0), y0 + t * (y1 - y0)])
                    assert not ((low + 1e-9 < point) & (point < high - 1e-9)).all(axis=1).any()


def test_a_long_model_fits_the_largest_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert drawings.MAX_PIXELS == 2**16 - 1  # matplotlib's limit
    monkeypatch.setattr(drawings, "MAX_PIXELS", 300)
    assert drawn(tmp_path, model(), dpi=2400).shape[0] in (299, 300)


@pytest.mark.parametrize(
    ("extension", "head"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("", b"\x89P")]
)
def test_the_extension_is_the_format(tmp_path: Path, extension: str, head: bytes) -> None:
    path = tmp_path / f"model{extension and '.' + extension}"
    plot_model(model(), str(path))
    assert path.read_bytes().startswith(head)


def test_dollars_in_names_are_plain_text(tmp_path: Path) -> None:
    net = nnfast.Sequential([layers.Dense(1, input_dim=1, name="$x^{$<b>&")])
    drawn(tmp_path, net, show_layer_names=True)
    assert "$x^{$&lt;b&gt;&amp;" in dot_source(diagram_of(net, Shown(*(True,) * 5)), STYLE)


def test_a_notebook_shows_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    display = types.SimpleNamespace(
        Image=lambda filename: ("image", filename), SVG=lambda filename: ("svg", filename)
    )
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(display=display))  # type: ignore[arg-type]
    for extension, kind in (("png", "image"), ("svg", "svg")):
        path = str(tmp_path / f"m.{extension}")
        assert plot_model(model(), path) == (kind, path)
    assert plot_model(model(), tmp_path / "m.pdf") is None


# Graphviz

STYLE = Style("TB", 200, "ortho")


def test_dot_describes_the_boxes_and_the_arrows() -> None:
    source = dot_source(diagram_of(model(), Shown(*(True,) * 5)), Style("LR", 96, "curved"))
    assert "graph [rankdir=LR, dpi=96, splines=curved]" in source
    assert [line for line in source.splitlines() if "->" in line] == ["  0 -> 1", "  1 -> 2"]
    assert source.count("<table") == source.count("</table>") == 3
    for text in ("<b>first</b> (Dense)", "Input shape: <b>(None, 3)</b>", "<b>Non-trainable</b>"):
        assert text in source
    assert 'colspan="4"' in source  # the title is as wide as all cells


def test_the_program_dot_draws_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    if shutil.which("dot") is None:
        pytest.skip("needs Graphviz")
    for name, head in (("m.png", b"\x89P"), ("m.svg", b"<?xml"), ("m", b"\x89P")):
        plot_model(model(), tmp_path / name, **EVERYTHING, dpi=50)
        assert (tmp_path / name).read_bytes().startswith(head)
    assert ">Non&#45;trainable<" in (tmp_path / "m.svg").read_text()
    with pytest.raises(ValueError, match="Graphviz cannot write"):
        plot_model(model(), tmp_path / "m.none")
    assert not (tmp_path / "m.none").exists()
    with pytest.raises(FileNotFoundError):
        plot_model(model(), tmp_path / "no folder" / "m.png")


def test_model_to_dot_returns_a_graph_of_an_installed_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pydot = types.SimpleNamespace(graph_from_dot_data=lambda text: [("pydot", text)])
    graphviz = types.SimpleNamespace(Source=lambda text: ("graphviz", text))
    monkeypatch.setitem(sys.modules, "pydot", pydot)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "graphviz", graphviz)  # type: ignore[arg-type]
    name, source = model_to_dot(model(), show_shapes=True, dpi=96)
    assert name == "pydot"
    assert source == dot_source(
        diagram_of(model(), Shown(True, False, True, False, False)), Style("TB", 96, "ortho")
    )
    monkeypatch.setitem(sys.modules, "pydot", None)
    assert model_to_dot(model())[0] == "graphviz"
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(ImportError, match="pip install pydot"):
        model_to_dot(model())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pydot's grammar
@pytest.mark.parametrize("name", ["last", "$x^{$<b>&", 'a "quoted" \\n name; {0 -> 1}', "größe"])
def test_pydot_reads_the_source(name: str) -> None:
    pydot = pytest.importorskip("pydot")
    net = nnfast.Sequential([layers.Dense(2, input_dim=1), layers.Dense(1, name=name)])
    graph = model_to_dot(net, **EVERYTHING)
    assert isinstance(graph, pydot.Dot)
    ends = [(edge.get_source(), edge.get_destination()) for edge in graph.get_edges()]
    assert ends == [("0", "1")]
    ((node,), none) = graph.get_node("1"), graph.get_node("2")
    assert (html.escape(name) in node.get_label(), none) == (True, [])


# Errors


def test_an_unbuilt_model_is_refused() -> None:
    for function in (plot_model, model_to_dot):
        with pytest.raises(ValueError, match="This model has not yet been built"):
            function(nnfast.Sequential([layers.Dense(1)]))
        with pytest.raises(TypeError, match="model must be a Model; received 3"):
            function(3)


def test_without_graphviz_and_matplotlib_the_error_names_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"Graphviz .*nnfast\[plot\]"):
        plot_model(model(), tmp_path / "m.png")


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"rankdir": "UP"}, "rankdir"),
        ({"dpi": 0}, "dpi must be"),
        ({"splines": "round"}, "splines"),
        ({"show_shapes": "yes"}, "show_shapes must be True or False"),
        ({"expand_nested": 2}, "expand_nested must be True or False"),
        ({"layer_range": ["a", "b"]}, "layer_range` is no longer supported"),
        ({"show_everything": True}, "Unrecognized keyword arguments"),
        ({"to_file": 3}, "to_file must be a path"),
        ({"to_file": "m.none"}, "none"),
    ],
)
def test_arguments_that_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keywords: Any, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((TypeError, ValueError), match=words):
        plot_model(model(), **keywords)
    assert not list(tmp_path.iterdir())


def test_keras_accepts_layer_range_none(tmp_path: Path) -> None:
    drawn(tmp_path, model(), layer_range=None)
    with pytest.raises(ValueError, match="subgraph must be False"):
        model_to_dot(model(), subgraph=True)

"""Why a package is there, against a plain search over all paths."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from repack.conda.dependencies import dependency_chains, dependency_graph, dependency_name
from repack.conda.record import Record


def record(name, *depends):
    raw = {"name": name, "version": "1", "build": "0", "build_number": 0, "subdir": "noarch",
           "sha256": "0" * 64, "size": 1, "depends": list(depends)}  # fmt: skip
    return Record.of(raw, f"{name}-1-0.conda", "")


def test_names_of_dependencies():
    specs = ["numpy", "numpy >=1.2,<3", "numpy>=1", "numpy[version='>=1']", "NumPy 1.* *_cp311",
             "conda-forge::numpy 1"]  # fmt: skip
    assert {dependency_name(spec) for spec in specs} == {"numpy"}
    assert dependency_name("") == dependency_name(" [x]") == ""


def test_virtual_and_missing_packages_are_no_edges():
    graph = dependency_graph(
        [record("a", "__glibc >=2.17", "gone", "b >=1"), record("b", "b", "a")]
    )
    assert graph == {"a": ("b",), "b": ("a",)}


def test_pip_is_there_because_of_python_unless_something_asks_for_it():
    plain = [record("python"), record("pip", "python"), record("app", "python")]
    assert dependency_chains(dependency_graph(plain), ["app"])["pip"] == ("app", "python", "pip")
    wanted = [*plain, record("tool", "pip")]
    assert dependency_chains(dependency_graph(wanted), ["tool"])["pip"] == ("tool", "pip")


def test_of_equally_short_ways_the_first_by_name_is_taken():
    graph = dependency_graph([record("b", "z"), record("a", "z"), record("z")])
    assert dependency_chains(graph, ["b", "a"])["z"] == ("a", "z")


NAMES = st.sampled_from("abcdefg")


@given(st.dictionaries(NAMES, st.sets(NAMES), min_size=1), st.sets(NAMES, min_size=1))
def test_chains_are_real_and_shortest(graph, roots):
    graph = dependency_graph([record(name, *sorted(graph[name])) for name in graph])
    found = dependency_chains(graph, roots)
    frontier, reached = roots & graph.keys(), {}
    depth = 1
    while frontier:
        reached |= dict.fromkeys(frontier, depth)
        frontier = {n for name in frontier for n in graph[name]} - reached.keys()
        depth += 1
    assert {name: len(way) for name, way in found.items()} == reached
    for name, way in found.items():
        assert way[0] in roots
        assert way[-1] == name
        assert all(way[i + 1] in graph[way[i]] for i in range(len(way) - 1))

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from repack.wheels.requirements import Machine, depends, python_versions, versions

LINUX = Machine("linux-64", "3.11.7")
WINDOWS = Machine("win-64", "3.11.7")


@pytest.mark.parametrize(
    ("python", "conda"),
    [
        ("", ""),
        (">=1.26", ">=1.26"),
        ("<3,>=2", ">=2,<3a0"),
        ("<3rc1", "<3rc1"),
        ("==1.4", "==1.4"),
        ("==1.4.*", "1.4.*"),
        ("!=1.4.*,!=2.1", "!=1.4.*,!=2.1"),
        ("~=1.4.2", ">=1.4.2,1.4.*"),
        ("~=2.1", ">=2.1,2.*"),
        ("===1.0", "==1.0"),
        ("==1.0RC1", "==1.0rc1"),
    ],
)
def test_versions(python, conda):
    assert versions(SpecifierSet(python)) == conda


def test_markers_are_evaluated_for_the_target_and_extras_dropped():
    lines = [
        'colorama; platform_system == "Windows"',
        'uvloop>=0.15; sys_platform != "win32"',
        'tomli; python_version < "3.11"',
        'PySocks!=1.5.7; extra == "socks"',
        "Zope.Interface[test]>=5",
    ]
    assert depends(lines, LINUX) == ["uvloop >=0.15", "zope-interface >=5"]
    assert depends(lines, WINDOWS) == ["colorama", "zope-interface >=5"]


def test_requires_python():
    assert python_versions(">=3.9,<4") == "python >=3.9,<4a0"
    assert python_versions(None) == "python"


def dotted(least):
    parts = st.lists(st.integers(0, 3), min_size=least, max_size=3)
    return parts.map(lambda found: ".".join(map(str, found)))


numbers, full = dotted(1), dotted(3)
# With three places only: to conda 1.post1 is more than 1.0.1, to Python it is less.
finals = st.one_of(numbers, full.map(lambda n: f"{n}rc1"), full.map(lambda n: f"{n}.post1"))


@given(
    specifier=st.tuples(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), numbers).map("".join)
    | st.tuples(st.sampled_from(["==", "!="]), numbers).map(lambda p: f"{p[0]}{p[1]}.*")
    | numbers.filter(lambda n: "." in n).map(lambda n: f"~={n}"),
    version=finals,
)
def test_conda_understands_it_as_python_does(specifier, version):
    rattler = pytest.importorskip("rattler")
    # PEP 440 leaves 1.post1 out of `>1`; conda has no way to say that.
    assume(not (specifier.startswith(">") and Version(version).is_postrelease))
    meant = SpecifierSet(specifier).contains(version, prereleases=True)
    understood = rattler.VersionSpec(versions(SpecifierSet(specifier)))
    assert understood.matches(rattler.Version(version)) == meant

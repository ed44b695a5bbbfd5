"""Modules that are asked for early and loaded late."""

from __future__ import annotations

import subprocess
import sys

from repack.upstream.late import late


def fresh(script):
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_module_is_loaded_when_its_class_is_made():
    said = fresh(
        "import sys\n"
        "from repack.upstream.late import late\n"
        "with late('fractions', 'Fraction'):\n"
        "    from fractions import Fraction\n"
        "print('fractions' in sys.modules)\n"
        "print(Fraction(1, 2), 'fractions' in sys.modules)\n"
        "from fractions import Fraction as real\n"
        "print(isinstance(Fraction(1, 2), real))\n"
    )
    assert said == ["False", "1/2", "True", "True"]


def test_what_is_loaded_stays():
    before = sys.modules["subprocess"]
    with late("subprocess", "Popen"):
        from subprocess import Popen

        assert Popen is before.Popen
    assert sys.modules["subprocess"] is before


def test_the_agent_loads_no_http_and_others_still_get_it():
    said = fresh(
        "import sys\n"
        "from repack.agent import install\n"
        "print('tuf.ngclient' in sys.modules, 'urllib3' in sys.modules, 'rattler' in sys.modules)\n"
        "from tuf.ngclient import Urllib3Fetcher\n"
        "made = Urllib3Fetcher()\n"
        "from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher as real\n"
        "print(isinstance(made, real))\n"
    )
    assert said == ["True", "False", "False", "True"]

"""Only tests marked ``gpu`` may skip: a missing install must not hide behind a green run."""

from pathlib import Path

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).parents[1] / "conftest.py"


def with_the_rule(pytester):
    hooks = CONFTEST.read_text().split("@pytest.hookimpl", 1)[1].split("@pytest.fixture", 1)[0]
    pytester.makeconftest(f"import pytest\n\n@pytest.hookimpl{hooks}")
    pytester.makeini("[pytest]\nmarkers = gpu: needs a GPU")


def test_a_skip_without_the_gpu_marker_is_a_failure(pytester):
    with_the_rule(pytester)
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.gpu
        def test_on_a_gpu():
            pytest.skip("no GPU here")

        def test_that_hides_a_missing_package():
            pytest.importorskip("no_such_package")

        @pytest.mark.skip(reason="slow")
        def test_put_off():
            pass

        def test_that_runs():
            pass
        """
    )
    result = pytester.runpytest_subprocess("-ra")
    result.assert_outcomes(passed=1, failed=1, errors=1, skipped=1)
    result.stdout.fnmatch_lines(["*only tests marked gpu may*"])


def test_a_file_that_skips_itself_is_an_error(pytester):
    with_the_rule(pytester)
    pytester.makepyfile('import pytest\npytest.importorskip("no_such_package")\ndef test_of_it(): pass')
    result = pytester.runpytest_subprocess("-ra")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*skipped as a whole; only tests marked gpu may*"])

"""The pytest plugin: what the image calls of a test run cost, and limits for them.

Pytest imports this module in every project, before anything else is set up: so nothing of pixelmeter at its top.
"""

from __future__ import annotations

import os
import tempfile
from argparse import ArgumentTypeError
from collections.abc import Generator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pixelmeter.meter import Meter
    from pixelmeter.testing.image_calls import ImageCalls
    from pixelmeter.testing.image_run import ImageRun, OneTest
    from pixelmeter.testing.run_budget import RunBudget

__all__: list[str] = []

_RUN = pytest.StashKey["ImageRun"]()
_PATCHED = pytest.StashKey[bool]()
_NAME = "pixelmeter"
_MAX_COST = "pixelmeter_max_cost"
_BLOCK_LIVE = "pixelmeter_block_live"
_ALL_CLIENTS = "pixelmeter_all_clients"
_MOST_EXPENSIVE = 5
_MARKERS = (
    f"{_MAX_COST}(usd): fail the test where its image calls cost more US dollars than that.",
    f"{_BLOCK_LIVE}(block=True): fail the test where an image call is about to leave this machine; it is not sent.",
)


@pytest.fixture
def image_calls(request: pytest.FixtureRequest) -> ImageCalls:
    """The image calls of this test so far: `cost`, `images`, `models`, `at_risk`, `unknown`, and each attempt."""
    return request.config.stash[_RUN].test.calls


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup(_NAME, "image calls")
    group.addoption(
        "--image-budget",
        metavar="USD",
        type=_amount,
        help="what the image calls of the whole run may cost; a call that could go over that is not sent, and its test "
        "fails",
    )
    parser.addini(_MAX_COST, "what the image calls of one test may cost, in US dollars", default="")
    parser.addini(_BLOCK_LIVE, "fail tests whose image calls would leave this machine", type="bool", default=False)
    parser.addini(
        _ALL_CLIENTS,
        "whether clients that nobody instruments are seen as well: true, false, or auto, where a limit is set",
        default="auto",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    # Before any module of the project: what that makes when it is imported is captured as well.
    _begin(early_config)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    run = _begin(config)
    try:
        _max_cost_of(config.getini(_MAX_COST))
    except ValueError as error:
        raise pytest.UsageError(f"{_MAX_COST}: {error}") from None
    if config.getini(_ALL_CLIENTS) not in ("true", "false", "auto"):
        raise pytest.UsageError(f"{_ALL_CLIENTS} is true, false or auto")
    limit = config.getoption("image_budget")
    if limit is not None:
        run.budget = _budget(config, limit)
    if (
        config.getini(_ALL_CLIENTS) == "true"
        or limit is not None
        or config.getini(_MAX_COST)
        or config.getini(_BLOCK_LIVE)
    ):
        _meter_all(config)


def pytest_collection_finish(session: pytest.Session) -> None:
    if any(item.get_closest_marker(name) for item in session.items for name in (_MAX_COST, _BLOCK_LIVE)):
        _meter_all(session.config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of xdist where the budget of the run is kept."""
    budget = node.config.stash[_RUN].budget
    if budget is not None:
        node.workerinput[_NAME] = budget.path


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    from pixelmeter.testing.image_run import OneTest

    run = item.config.stash[_RUN]
    run.test = OneTest(item.nodeid)
    try:
        return (yield)
    finally:
        run.test = run.outside


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    test = item.config.stash[_RUN].test
    # Last, so that a marker that makes no sense is an error of its test, and of nothing else.
    test.max_cost, test.block_live = _limits(item)
    return (yield from _checked(item, test, "setup"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from _checked(item, item.config.stash[_RUN].test, "call"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from _checked(item, item.config.stash[_RUN].test, "teardown"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    test = item.config.stash[_RUN].test
    if call.when == "teardown" and not test.is_reported:
        test.is_reported = True
        # An attribute of the report travels with it from a worker of xdist to its controller.
        report.pixelmeter = test.sums()
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    run = session.config.stash[_RUN]
    rest = run.finish()
    given = getattr(session.config, "workeroutput", None)
    if given is None:
        run.all.append(rest)
    else:
        given[_NAME] = rest


class _Totals:
    """Adds up what the tests of all workers came to."""

    def __init__(self, run: ImageRun) -> None:
        self._run = run

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        sums = getattr(report, "pixelmeter", None)
        if sums is not None:
            self._run.all.append(sums)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take what a worker of xdist made outside of tests; one that has crashed tells nothing any more."""
        rest = getattr(node, "workeroutput", {}).get(_NAME)
        if rest is not None:
            self._run.all.append(rest)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        from pixelmeter.testing.image_run import lines

        said = lines(self._run.all, self._run.budget, _MOST_EXPENSIVE)
        if said:
            terminalreporter.section("image calls", sep="-")
            for line in said:
                terminalreporter.line(line)


def _begin(config: pytest.Config) -> ImageRun:
    """Capture all image calls of this process from now on until the run is over."""
    if _RUN in config.stash:
        return config.stash[_RUN]
    from pixelmeter.capturing import CAPTURES
    from pixelmeter.testing.image_run import ImageRun

    run = config.stash[_RUN] = ImageRun()
    CAPTURES.append(run)
    config.add_cleanup(partial(CAPTURES.remove, run))
    config.pluginmanager.register(_Totals(run), "pixelmeter-totals")
    return run


def _budget(config: pytest.Config, limit: str) -> RunBudget:
    from pixelmeter.testing.image_run import nano_of
    from pixelmeter.testing.run_budget import RunBudget

    given: dict[str, Any] = getattr(config, "workerinput", {})
    path = given.get(_NAME)
    if path is None:
        file, path = tempfile.mkstemp(prefix="pixelmeter-budget-")
        os.close(file)
        config.add_cleanup(partial(_remove, path))
    return RunBudget(nano_of(limit), path)


def _meter_all(config: pytest.Config) -> None:
    """Meter every client of this process, now and later: a limit is to hold for those that nobody instruments, too."""
    if _PATCHED in config.stash or config.getini(_ALL_CLIENTS) == "false":
        return
    from pixelmeter.drivers.patching import LateMeter, patch

    config.stash[_PATCHED] = True
    config.add_cleanup(patch(LateMeter(_meter)))


def _meter() -> Meter:
    # With the first client that is made: a run without one needs none of it.
    from pixelmeter.meter import Meter

    return Meter()


def _checked(item: pytest.Item, test: OneTest, phase: str) -> Generator[None, Any, Any]:
    """Fail a phase of a test whose image calls went too far, also where the program has taken no notice."""
    try:
        result = yield
    except BaseException as error:
        problem = test.problem()
        if problem is not None and str(error) != problem:
            item.add_report_section(phase, _NAME, problem)
        raise
    problem = test.problem()
    if problem is not None:
        pytest.fail(problem, pytrace=False)
    return result


def _limits(item: pytest.Item) -> tuple[int | None, bool]:
    """Return what a test may cost in nano-dollars, and whether its image calls must stay on this machine."""
    cost, block = item.get_closest_marker(_MAX_COST), item.get_closest_marker(_BLOCK_LIVE)
    most = item.config.getini(_MAX_COST) if cost is None else _argument(cost, "usd")
    try:
        limit = _max_cost_of(most)
    except ValueError as error:
        pytest.fail(f"{_MAX_COST}: {error}", pytrace=False)
    return limit, bool(item.config.getini(_BLOCK_LIVE) if block is None else _argument(block, "block", True))


def _argument(marker: pytest.Mark, name: str, default: Any = None) -> Any:
    """Return the argument of a marker; one that makes no sense fails the test, so that no limit is lost by a slip."""
    given = [*marker.args, *marker.kwargs.values()]
    if {*marker.kwargs} - {name} or len(given) > 1 or (not given and default is None):
        pytest.fail(f"{marker.name} has one argument, {name}", pytrace=False)
    value = given[0] if given else default
    if isinstance(default, bool) and not isinstance(value, bool):
        pytest.fail(f"{marker.name}: {value!r} is neither True nor False", pytrace=False)
    return value


def _max_cost_of(amount: object) -> int | None:
    from pixelmeter.testing.image_run import nano_of

    return None if amount == "" else nano_of(amount)


def _amount(text: str) -> str:
    """Return the text of an amount; xdist hands it to its workers as it is."""
    from pixelmeter.testing.image_run import nano_of

    try:
        nano_of(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
    return text


def _remove(path: str) -> None:
    with suppress(OSError):
        os.remove(path)

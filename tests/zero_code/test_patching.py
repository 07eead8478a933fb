"""All clients of a process are metered, from when they should be until they should not be. Each program is a user's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pixelmeter.testing import Gateway
from tests.zero_code.programs import CALL, Ended, app, ended, environment, rows, running

pytestmark = pytest.mark.slow

START = "import pixelmeter.auto\nassert pixelmeter.auto.start()\n"
BODY = """
import sys
BODY = {"model": "meta/sam-3-1-image", "prompt": "a fox"}
url = sys.argv[1] + "/images/generations"
"""
# By library, how a client is made, makes a call, and is closed.
LIBRARIES = {
    "httpx": """
import httpx
new, close = httpx.Client, httpx.Client.close
def call(client): assert client.post(url, json=BODY).status_code == 200
""",
    "httpx2": """
import httpx2
new, close = httpx2.Client, httpx2.Client.close
def call(client): assert client.post(url, json=BODY).status_code == 200
""",
    "httpx, async": """
import asyncio, httpx
runner = asyncio.Runner()
new = httpx.AsyncClient
def call(client): assert runner.run(client.post(url, json=BODY)).status_code == 200
def close(client): runner.run(client.aclose())
""",
    "httpx2, async": """
import asyncio, httpx2
runner = asyncio.Runner()
new = httpx2.AsyncClient
def call(client): assert runner.run(client.post(url, json=BODY)).status_code == 200
def close(client): runner.run(client.aclose())
""",
    "aiohttp": """
import asyncio, aiohttp
runner = asyncio.Runner()
async def made(): return aiohttp.ClientSession()
async def called(client):
    async with client.post(url, json=BODY) as answer: return answer.status, await answer.read()
def new(): return runner.run(made())
def call(client): assert runner.run(called(client))[0] == 200
def close(client): runner.run(client.close())
""",
    "urllib3": """
import urllib3
new, close = urllib3.PoolManager, urllib3.PoolManager.clear
def call(client): assert client.request("POST", url, json=BODY).status == 200
""",
    "requests": """
import requests
new, close = requests.Session, requests.Session.close
def call(client): assert client.post(url, json=BODY).status_code == 200
""",
}


def run(text: str, gateway: Gateway, folder: Path, **variables: str) -> Ended:
    """Run a program with the URL of the gateway, and return how it ended."""
    return ended([sys.executable, app(folder, text), gateway.url], environment(folder, **variables), folder)


_QUICK = {
    *(("httpx", "before the library"), ("aiohttp", "before the library"), ("requests", "before the library")),
    *(("httpx2, async", "before the client"), ("httpx", "after the client"), ("aiohttp", "after the client")),
}


@pytest.mark.parametrize(
    ("library", "when"),
    [
        pytest.param(library, when, marks=[] if (library, when) in _QUICK else [pytest.mark.slow])
        for library in LIBRARIES
        for when in ("before the library", "before the client", "after the client")
    ],
)
def test_clients_of_a_library_are_metered_whenever_that_begins(
    library: str, when: str, gateway: Gateway, tmp_path: Path
) -> None:
    parts = {"before the library": BODY + LIBRARIES[library], "before the client": "client = new()\n"}
    program = "".join((START if when == step else "") + part for step, part in parts.items())
    program += (START if when == "after the client" else "") + "call(client)\ncall(client)\nclose(client)\n"
    assert Ended(0, "", "") == run(program, gateway, tmp_path)
    assert ["success"] * 2 == rows(tmp_path)
    assert 2 == len(gateway.billing())


@pytest.mark.parametrize(
    "replaced",
    [
        "httpx.Client.__init__ = functools.partialmethod(httpx.Client.__init__, trust_env=False)",
        "made = httpx.Client.__init__\nhttpx.Client.__init__ = lambda one, *a, **k: made(one, *a, **k)",
        "class Mine(httpx.Client): pass\nhttpx.Client = Mine",
        "httpx.Client = functools.partial(httpx.Client, trust_env=False)",
    ],
    ids=["partial method", "function", "subclass", "partial"],
)
def test_clients_are_metered_where_the_program_has_replaced_their_class_or_its_constructor(
    replaced: str, gateway: Gateway, tmp_path: Path
) -> None:
    program = f"{START}import functools\n{BODY}\nimport httpx\n{replaced}\nclient = httpx.Client()\n"
    program += "assert client.post(url, json=BODY).status_code == 200\n"
    assert Ended(0, "", "") == run(program, gateway, tmp_path)
    assert ["success"] == rows(tmp_path)


# By library, the methods that tracers wrap, and by which they find what they trace.
WRAPPED = {
    "httpx": "Client._send_single_request",
    "httpx2, async": "AsyncClient._send_single_request",
    "aiohttp": "ClientSession._request",
    "urllib3": "HTTPConnectionPool.urlopen",
    "requests": "HTTPConnectionPool.urlopen",
}


@pytest.mark.parametrize("when", ["before the wrapper", "after the wrapper"])
@pytest.mark.parametrize(
    "library", [pytest.param(name, marks=[] if name == "httpx" else [pytest.mark.slow]) for name in WRAPPED]
)
def test_a_wrapper_of_wrapts_around_what_sends_is_called_as_ever(
    library: str, when: str, gateway: Gateway, tmp_path: Path
) -> None:
    """Such as those of Datadog and New Relic: in a class it is bound to the object, and takes no object by itself."""
    module = library.partition(",")[0].replace("requests", "urllib3")
    kind = WRAPPED[library].partition(".")[0]
    wrapper = (
        f"import wrapt, {module}\nseen = []\ndef traced(wrapped, instance, args, kwargs):\n"
        f"    seen.append((isinstance(instance, {module}.{kind}), len(args)))\n    return wrapped(*args, **kwargs)\n"
        f"wrapt.wrap_function_wrapper({module}, '{WRAPPED[library]}', traced)\n"
    )
    program = BODY + LIBRARIES[library] + (START + wrapper if when.startswith("before") else wrapper + START)
    program += "client = new()\ncall(client)\ncall(client)\nclose(client)\nprint(seen[0] == seen[1], seen[0][0])\n"
    assert Ended(0, "True True\n", "") == run(program, gateway, tmp_path)
    assert ["success"] * 2 == rows(tmp_path)


def test_metering_stops_at_once_and_begins_anew(gateway: Gateway, tmp_path: Path) -> None:
    program = f"""
{START}
import os, threading
import httpx
{CALL}
client = httpx.Client()
def again(): client.post(url + "/images/generations", json={{"model": "meta/sam-3-1-image", "prompt": "a fox"}})
import sys
url = sys.argv[1]
call(url); again()
assert pixelmeter.auto.is_on()
assert pixelmeter.auto.stop(30) and pixelmeter.auto.stop(30)
assert not pixelmeter.auto.is_on() and threading.active_count() == 1
call(url); again()
os.environ["PIXELMETER_TAGS"] = "round=second"
assert pixelmeter.auto.start() and pixelmeter.auto.start()
call(url); again()
os.environ["PIXELMETER_DISABLED"] = "yes"
pixelmeter.auto.stop(30)
assert not pixelmeter.auto.start() and not pixelmeter.auto.is_on()
call(url)
"""
    assert Ended(0, "200\n" * 4, "") == run(program, gateway, tmp_path)
    assert 4 == len(rows(tmp_path))
    assert 7 == len(gateway.billing())


def test_what_is_no_longer_instrumented_is_as_it_was_before(gateway: Gateway, tmp_path: Path) -> None:
    program = f"""
{BODY}
import sys
import aiohttp, httpx, httpx2, urllib3
from pixelmeter.instrumentor import PixelmeterInstrumentor
changed = httpx.Client, httpx.AsyncClient, httpx2.Client, aiohttp.ClientSession, urllib3.HTTPConnectionPool
before = [dict(vars(each)) for each in changed], list(sys.meta_path)
PixelmeterInstrumentor().instrument()
httpx.Client().post(url, json=BODY)
urllib3.PoolManager().request("POST", url, json=BODY)
assert before != ([dict(vars(each)) for each in changed], list(sys.meta_path))
PixelmeterInstrumentor().uninstrument()
assert before == ([dict(vars(each)) for each in changed], list(sys.meta_path))
"""
    assert Ended(0, "", "") == run(program, gateway, tmp_path)
    assert ["success"] * 2 == rows(tmp_path)


def test_a_call_under_way_when_metering_stops_is_recorded_as_it_ends(gateway: Gateway, tmp_path: Path) -> None:
    program = f"""
{BODY}{START}
import httpx
with httpx.Client() as client, client.stream("POST", url, json=BODY) as answer:
    pixelmeter.auto.stop(30)
    answer.read()
"""
    assert Ended(0, "", "") == run(program, gateway, tmp_path)
    assert ["success"] == rows(tmp_path)


def test_a_client_that_the_program_instruments_keeps_its_meter(gateway: Gateway, tmp_path: Path) -> None:
    program = f"""
{BODY}{START}
import httpx, pixelmeter
client = httpx.Client()
client.post(url, json=BODY)
with pixelmeter.Meter("sqlite:///own.db", gateways={{"127.0.0.1:*": "aigateway"}}) as meter:
    pixelmeter.instrument(client, meter)
    client.post(url, json=BODY)
    pixelmeter.auto.stop()
    client.post(url, json=BODY)
    assert meter.flush(30)
    print(meter.status()["drain"]["committed"])
"""
    assert Ended(0, "2\n", "") == run(program, gateway, tmp_path)
    assert ["success"] == rows(tmp_path)


def test_no_meter_is_made_before_a_client_is_and_no_database_library_is_loaded(
    gateway: Gateway, tmp_path: Path
) -> None:
    program = f"""
import os, sys
{START}
def loaded(): return sorted({{"pixelmeter.meter", "sqlalchemy", "sqlite3", "logging", "threading"}} & {{*sys.modules}})
print(loaded())
import httpx, httpx2, urllib3
print("pixelmeter.meter" in sys.modules, httpx.Client.__init__.__qualname__)
httpx.Client(verify=False).close()
print("pixelmeter.meter" in sys.modules, "sqlalchemy" in sys.modules, os.listdir({str(tmp_path)!r}))
"""
    shown = "[]\nFalse Client.__init__\nTrue False ['app.py']\n"
    assert Ended(0, shown, "") == run(program, gateway, tmp_path)


@pytest.mark.parametrize("name", ["PIXELMETER_DURABILITY", "PIXELMETER_PRICES"])
def test_settings_that_cannot_be_used_are_logged_once_and_nothing_is_metered(
    name: str, gateway: Gateway, tmp_path: Path
) -> None:
    program = f"import sys\nimport httpx\n{CALL}\nfor _ in range(3): call(sys.argv[1])\n"
    command = running(sys.executable, app(tmp_path, program), gateway.url)
    found = ended(command, environment(tmp_path, **{name: "/nowhere"}), tmp_path)
    assert (0, "200\n" * 3) == (found.status, found.output)
    assert 1 == found.errors.count("image calls are not metered")
    assert name in found.errors or "/nowhere" in found.errors
    assert 1 == len(found.errors.splitlines())
    assert [] == rows(tmp_path)


def test_a_warning_of_a_constructor_names_the_line_of_the_program(gateway: Gateway, tmp_path: Path) -> None:
    program = f"""
{START}
import warnings
warnings.simplefilter("always")
import httpx
class Client(httpx.Client):
    pass
with warnings.catch_warnings(record=True) as caught:
    original = httpx.Client.__init__
    def warning(self, **options):
        warnings.warn("old", DeprecationWarning, stacklevel=2)
        original(self)
    httpx.Client.__init__ = warning
    httpx.Client()
print([each.filename == __file__ for each in caught])
"""
    assert Ended(0, "[True]\n", "") == run(program, gateway, tmp_path)


def test_threads_that_make_their_first_clients_at_once_are_all_metered(gateway: Gateway, tmp_path: Path) -> None:
    program = f"""
{BODY}{START}
import threading
import httpx
start = threading.Barrier(8)
def work():
    start.wait()
    with httpx.Client() as client: client.post(url, json=BODY)
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    assert Ended(0, "", "") == run(program, gateway, tmp_path)
    assert ["success"] * 8 == rows(tmp_path)


@pytest.mark.parametrize("where", ["the driver is loaded", "the meter is made"])
def test_a_child_that_is_forked_while_another_thread_makes_the_first_client_is_metered(
    where: str, gateway: Gateway, tmp_path: Path
) -> None:
    program = f"""
{BODY}{START}
import os, threading
import httpx
import pixelmeter.settings
from pixelmeter.drivers import patching
reached, go_on = threading.Event(), threading.Event()
def held(*_):
    reached.set()
    go_on.wait(60)
    raise RuntimeError("too late for the parent")
if {where!r} == "the meter is made":
    httpx.Client().close()
    source = patching._sources[0]
    source.close(1)
    make, source._make = source._make, held
else:
    import pixelmeter.drivers.httpx as driver
    patch, driver.patch = driver.patch, held
thread = threading.Thread(target=patching._meter_now if {where!r} == "the meter is made" else httpx.Client)
thread.start()
assert reached.wait(60)
child = os.fork()
if not child:
    if {where!r} == "the meter is made": source._make = make
    else: driver.patch = patch
    with httpx.Client() as client: client.post(url, json=BODY)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
go_on.set()
thread.join()
"""
    found = run(program, gateway, tmp_path)
    assert (0, "") == (found.status, found.output)
    assert "too late for the parent" in found.errors
    assert ["success"] == rows(tmp_path)


def test_a_meter_that_is_being_made_by_a_thread_that_waits_for_this_one_is_not_waited_for_for_ever(
    gateway: Gateway, tmp_path: Path
) -> None:
    program = f"""
{BODY}{START}
import threading, time
import httpx
from pixelmeter.drivers import patching
patching._PATIENCE = 0.2
httpx.Client().close()
source = patching._sources[0]
source.close(1)
done = threading.Event()
make, source._make = source._make, lambda: done.wait(60) and make()
other = threading.Thread(target=patching._meter_now)
other.start()
while not source._is_making: time.sleep(0.01)
httpx.Client().post(url, json=BODY)
done.set()
other.join()
httpx.Client().post(url, json=BODY)
"""
    assert Ended(0, "", "") == run(program, gateway, tmp_path)
    assert ["success"] == rows(tmp_path)
    assert 2 == len(gateway.billing())


@pytest.mark.parametrize("name", ["decimal", "msgspec"])
def test_a_file_of_the_program_that_has_the_name_of_what_is_imported_late_costs_it_no_call(
    name: str, gateway: Gateway, tmp_path: Path
) -> None:
    """The folder of a script is before everything else on its path, also for what pixelmeter imports."""
    app(tmp_path, "", f"{name}.py")
    program = f"{BODY}{START}import httpx\nfor _ in range(2): print(httpx.post(url, json=BODY).status_code)\n"
    found = run(program, gateway, tmp_path)
    assert (0, "200\n200\n") == (found.status, found.output), found.errors
    [line] = found.errors.splitlines()
    assert line.startswith("image calls over httpx are not metered: ")

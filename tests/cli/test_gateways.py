"""What `pixelmeter gateways` prints."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pixelmeter.cli import main
from pixelmeter.gateways import load_profiles

_OWN = """
id = "corp"
evidence = "a letter; read 2026-11-26"
pass_through = ["openai"]
[match]
hosts = ["images.corp.example"]
[[route]]
path = "/v1/{model+}/run"
api = "prediction_jobs"
operation = "edit"
asks = { "body.kind" = ["image*"] }
quote = { "query.dry_run" = ["true"] }
[[cost]]
from = "body"
name = "bill.sum"
unit = "cents"
"""
_JOBS = """
id = "corp"
[match]
hosts = ["images.corp.example"]
[[route]]
path = "/v1/{model}/run"
api = "prediction_jobs"
operation = "generate"
[job]
id = ["task"]
status = ["state"]
done = ["ready"]
[[job.follow]]
kind = "poll"
path = "/v1/tasks/{job_id}"
asks = { "query.kind" = ["image"] }
[[job.follow]]
kind = "cancel"
method = "DELETE"
path = "/v1/tasks"
job_id = ["query.id"]
failed_statuses = [500]
response.items = ["urls[]"]
"""
_WRONG = """
id = "corp"
[[route]]
path = "/v1/{model"
api = "openai_images"
operation = "generate"
[[route]]
path = "/v1/{model}"
api = "openai_images"
operation = "generate"
[route.request]
size = ["path.size"]
[[inner]]
prefix = "v1"
profile = "openai"
"""


def run(*arguments: str, profiles: str | None = None) -> Result:
    return CliRunner(env={"PIXELMETER_PROFILES": profiles}).invoke(main, ["gateways", *arguments])


@pytest.fixture
def own(tmp_path: Path) -> str:
    file = tmp_path / "corp.toml"
    file.write_text(_OWN)
    return str(file)


@pytest.fixture
def wrong(tmp_path: Path) -> str:
    file = tmp_path / "wrong.toml"
    file.write_text(_WRONG)
    return str(file)


@pytest.fixture
def jobs(tmp_path: Path) -> str:
    file = tmp_path / "jobs.toml"
    file.write_text(_JOBS)
    return str(file)


def test_list_has_every_gateway_once_by_name() -> None:
    rows = json.loads(run("list", "--format", "json").stdout)

    names = [row["gateway"] for row in rows]
    assert sorted(load_profiles({}).ids) == names
    [openai] = [row for row in rows if row["gateway"] == "openai"]
    assert openai.pop("evidence")
    assert {
        "gateway": "openai",
        "hosts": "api.openai.com, *.api.openai.com",
        "routes": 4,
        "apis": "openai_images, openai_responses",
        "cost": "price book",
        "prices": "openai",
    } == openai


def test_list_is_the_same_in_csv_and_fits_what_it_is_printed_to() -> None:
    rows = json.loads(run("list", "--format", "json").stdout)
    result = run("list", "--format", "csv")
    assert [{name: str(value) for name, value in row.items()} for row in rows] == list(
        csv.DictReader(io.StringIO(result.stdout))
    )
    table = run("list").stdout.splitlines()
    assert ("gateway", len(rows) + 2) == (table[0].split()[0], len(table))


def test_own_profiles_are_among_them_by_option_and_by_environment(own: str) -> None:
    by_option = json.loads(run("list", "--profiles", own, "--format", "json").stdout)
    assert by_option == json.loads(run("list", "--format", "json", profiles=own).stdout)
    assert {
        "gateway": "corp",
        "hosts": "images.corp.example",
        "routes": 1,
        "apis": "prediction_jobs",
        "cost": "body bill.sum",
        "prices": "corp, openai",
        "evidence": "a letter; read 2026-11-26",
    } in by_option


def test_a_gateway_without_hosts_says_how_it_is_known() -> None:
    hosts = {row["gateway"]: row["hosts"] for row in json.loads(run("list", "--format", "json").stdout)}
    assert ("any other", "by response header") == (hosts["generic_openai"], hosts["litellm"])


def test_show_says_hosts_evidence_cost_and_routes(own: str) -> None:
    result = run("show", "corp", profiles=own)
    assert 0 == result.exit_code
    assert [
        "corp: images.corp.example",
        "  evidence: a letter; read 2026-11-26",
        "  cost: body bill.sum in cents; 0 proves nothing",
        "",
    ] == result.stdout.splitlines()[:4]
    assert ["POST", "/v1/{model+}/run", "prediction_jobs", "edit", "corp,", "openai"] == (
        result.stdout.splitlines()[-1].split()[:6]
    )


def test_show_has_the_routes_in_json_and_csv(own: str) -> None:
    rows = json.loads(run("show", "corp", "--format", "json", profiles=own).stdout)
    assert [
        {
            "method": "POST",
            "path": "/v1/{model+}/run",
            "api": "prediction_jobs",
            "operation": "edit",
            "prices": "corp, openai",
            "if": "body.kind is one of image* and query.dry_run is none of true",
        }
    ] == rows
    assert rows == list(csv.DictReader(io.StringIO(run("show", "corp", "--format", "csv", profiles=own).stdout)))


def test_show_of_a_gateway_that_is_not_there_names_those_that_are() -> None:
    result = run("show", "nobody\x1b[31m")
    assert (1, "") == (result.exit_code, result.stdout)
    assert "no profile is called nobody: there are adobe-firefly, aigateway, " in result.stderr
    assert "\x1b" not in result.stderr


def test_match_tells_profile_route_places_and_prices(own: str) -> None:
    result = run("match", "https://images.corp.example/v1/a%2Fb/c/run?dry_run=no", profiles=own)
    assert 0 == result.exit_code
    lines = result.stdout.splitlines()
    assert ["images.corp.example has the profile corp", "", "POST /v1/{model+}/run: edit, API prediction_jobs"] == (
        lines[:3]
    )
    assert {
        "  only if body.kind is one of image*",
        "  only if query.dry_run is none of true",
        "  {model} is a/b/c",
        "  request model: path.model, body.model",
        "  cost: body bill.sum in cents; 0 proves nothing",
        "  prices of: corp, openai",
    } <= set(lines)


def test_match_has_it_all_in_json(own: str) -> None:
    [route] = json.loads(run("match", "https://images.corp.example/v1/m/run", "--format", "json", profiles=own).stdout)
    assert ({"model": "m"}, None) == (route["parts"], route["job"])
    assert [{"from": "body", "name": "bill.sum", "unit": "cents", "plus": False}] == route["cost"]
    assert ("corp", "path.model, body.model") == (route["gateway"], route["request"]["model"])
    assert "images[]" in route["response"]["items"]


def test_match_leaves_out_routes_whose_conditions_the_url_does_not_meet(own: str) -> None:
    routes = json.loads(run("match", "https://fal.run/fal-ai/flux/schnell", "--format", "json").stdout)
    assert [("generate", {"model": "fal-ai/flux/schnell"})] == [
        (route["operation"], route["parts"]) for route in routes
    ]
    quote = run("match", "https://images.corp.example/v1/m/run?dry_run=True", profiles=own)
    assert (1, ["images.corp.example has the profile corp"]) == (quote.exit_code, quote.stdout.splitlines())


def test_show_has_the_requests_about_jobs_after_the_calls(jobs: str) -> None:
    rows = json.loads(run("show", "corp", "--format", "json", profiles=jobs).stdout)
    assert [
        ("POST", "generate", "prediction_jobs", None),
        ("GET", "poll of a job", None, "query.kind is one of image"),
        ("DELETE", "cancel of a job", None, None),
    ] == [(row["method"], row["operation"], row["api"], row["if"]) for row in rows]


def test_match_explains_a_request_about_a_job(jobs: str) -> None:
    url = "https://images.corp.example/v1/tasks"
    result = run("match", url + "?id=t", "--method", "delete", profiles=jobs)
    assert 0 == result.exit_code
    assert [
        "images.corp.example has the profile corp",
        "",
        "DELETE /v1/tasks: cancel of a job, no attempt",
        "  request job id: query.id",
        "  answer items: urls[]",
    ] == result.stdout.splitlines()[:5]
    assert {
        "  job status: state",
        "  job done: ready",
        "  job max age hours: 24",
        "  failed with an error and one of: 500",
    } <= set(result.stdout.splitlines())
    asked = f"{url}/t?kind=image"
    [route] = json.loads(run("match", asked, "--method", "GET", "--format", "json", profiles=jobs).stdout)
    assert ({"job_id": "path.job_id"}, {"job_id": "t"}, "poll of a job") == (
        route["request"],
        route["parts"],
        route["operation"],
    )
    assert 1 == run("match", f"{url}/t?kind=video", "--method", "GET", profiles=jobs).exit_code


@pytest.mark.parametrize(
    ("lines", "at", "said"),
    [
        ('path = "/v1/{job_id"', 1, "'/v1/{job_id': write {name} for a part, {name+} for several segments"),
        ('path = "/v1/tasks"', 0, "'path.job_id': the path has no {job_id}"),
        ('path = "/v1/{job_id}/{job_id}"', 1, "'/v1/{job_id}/{job_id}' names a part twice"),
        ('path = "/v1/{x}"\njob_id = ["path.y"]', 2, "'path.y': the path has no {y}"),
        ('path = "/v1"\njob_id = ["=t"]', 2, "'=t': each job has an id of its own"),
        ('path = "/{job_id}"\nunless = { "path.kind" = ["a"] }', 2, "'path.kind': the path has no {kind}"),
        ('path = "/{job_id}"\nasks = { "path.kind" = ["a"] }', 2, "'path.kind': the path has no {kind}"),
        ('path = "/{job_id}"\njob_id = ["task"]', 2, "'task' is no place in a request"),
        ('path = "/{job_id}"\nstatus = ["a..b"]', 2, "'a..b' is no path"),
        ('path = "/{job_id}"\nmethod = "HEAD"', 2, "HEAD"),
        ('path = "/{job_id}"\nfailed_statuses = [200]', 2, ">= 400"),
        ('path = "/{job_id}"\nresponse.items = ["a[x]"]', 2, "'a[x]' is no path"),
    ],
)
@pytest.mark.parametrize("table", ["job", "route.job"])
def test_check_says_what_is_wrong_with_a_request_about_a_job(
    tmp_path: Path, table: str, lines: str, at: int, said: str
) -> None:
    file = tmp_path / "wrong.toml"
    route = '[[route]]\npath = "/v1"\napi = "plain_images"\noperation = "edit"\n'
    above = f'id = "corp"\n{route}[{table}]\nid = ["task"]\n'
    file.write_text(f'{above}[[{table}.follow]]\n{lines}\nkind = "poll"\n')
    result = run("check", str(file))
    assert 1 == result.exit_code
    assert result.stdout.startswith(f"{file}:{above.count(chr(10)) + 1 + at}: "), result.stdout
    assert said in result.stdout


def test_check_says_which_status_is_none_that_a_job_ends_with(tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(_JOBS.replace('done = ["ready"]', 'failed = ["refus*"]\nnot_charged = ["refused", "broken"]'))
    result = run("check", str(file))
    assert (1, f"{file}:13: 'broken' is none of `failed` and `cancelled`\n") == (result.exit_code, result.stdout)


def test_match_has_the_routes_in_csv() -> None:
    result = run("match", "https://api.openai.com/v1/images/edits", "--format", "csv")
    assert [("openai", "edit", "openai_images")] == [
        (row["gateway"], row["operation"], row["api"]) for row in csv.DictReader(io.StringIO(result.stdout))
    ]


@pytest.mark.parametrize(
    ("url", "profile"),
    [
        ("https://api.openai.com:443/v1/images/generations", "api.openai.com has the profile openai"),
        ("https://API.OpenAI.com/v1/images/generations", "api.openai.com has the profile openai"),
        ("http://localhost:4000/v1/images/generations", "localhost:4000 has the profile generic_openai"),
    ],
)
def test_match_takes_a_host_as_a_request_has_it(url: str, profile: str) -> None:
    result = run("match", url)
    assert (0, profile) == (result.exit_code, result.stdout.splitlines()[0])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["https://api.openai.com/v1/embeddings"], "No route fits POST /v1/embeddings: such a request is not metered."),
        (["https://api.openai.com/v1/images/edits", "--method", "get"], "No route fits GET /v1/images/edits"),
        (["https://fal.run/fal-ai/kling-video/v2/text-to-image"], "No route fits POST /fal-ai/kling-video"),
        (["https://api.deepinfra.com/v1/inference/openai/whisper"], "No route fits POST /v1/inference/openai/whisper"),
    ],
)
def test_match_of_a_request_that_is_not_metered_says_so_and_fails(arguments: list[str], said: str) -> None:
    result = run("match", *arguments)
    assert 1 == result.exit_code
    assert said in result.stderr
    assert (1, "[]\n") == ((found := run("match", *arguments, "--format", "json")).exit_code, found.stdout)


@pytest.mark.parametrize(
    "url", ["api.openai.com/v1/images", "", "/v1/images", "http://[::1", "https://h.example:99999999/", "https://"]
)
def test_match_of_what_is_no_url_says_how_one_is_written(url: str) -> None:
    result = run("match", url)
    assert (1, "") == (result.exit_code, result.stdout)
    assert "is no URL: write https://host/path" in result.stderr


def test_check_of_a_good_file_says_so(own: str) -> None:
    result = run("check", own)
    assert (0, f"{own}: nothing is wrong\n") == (result.exit_code, result.stdout)


def test_check_prints_every_problem_with_its_line(wrong: str) -> None:
    result = run("check", wrong)
    assert 1 == result.exit_code
    assert [
        f"{wrong}:4: '/v1/{{model': write {{name}} for a part, {{name+}} for several segments",
        f"{wrong}:12: 'path.size': the path has no {{size}}",
        f"{wrong}:14: 'v1' is no beginning of a path: it starts with /",
    ] == result.stdout.splitlines()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("id = ", 1),
        ('id = "corp"\nhost = 1\n', 2),
        ('id = "corp"\n[match]\nhosts = []\nhost = 1\n', 4),
        ('id = "c"\n[[cost]]\nfrom = "mail"\n', 3),
    ],
)
def test_check_of_a_file_that_is_no_profile_tells_where(tmp_path: Path, text: str, line: int) -> None:
    file = tmp_path / "a.toml"
    file.write_text(text)
    result = run("check", str(file))
    assert 1 == result.exit_code
    assert result.stdout.startswith(f"{file}:{line}: ")


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    result = run("check", str(tmp_path / "none.toml"))
    assert (1, "") == (result.exit_code, result.stdout)
    assert "cannot be read: No such file or directory" in result.stderr


@pytest.mark.parametrize(
    "arguments", [["list"], ["show", "openai"], ["match", "https://api.openai.com/v1/images/edits"]]
)
def test_a_profile_with_a_problem_is_not_passed_over(wrong: str, arguments: list[str]) -> None:
    result = run(*arguments, profiles=wrong)
    assert (1, "") == (result.exit_code, result.stdout)
    assert f"{wrong}:4: " in result.stderr

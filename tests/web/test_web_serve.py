"""The page server: it lists runs, shows reports, and gives nothing else out."""

import http.client
import threading

import pytest
from web_demonstration import make_run

from radfoundry import runs
from radfoundry.records import Estimate, InputError
from radfoundry.web import index, serve


@pytest.fixture(scope="module")
def runs_folder(tmp_path_factory):
    parent = tmp_path_factory.mktemp("served")
    (parent / "secret.json").write_text("{}")
    folder = parent / "runs"
    run = make_run(folder)
    (run / "report.html").write_text("<p>the report</p>")
    (run / "model.pickle").write_bytes(b"no")
    (run / ".hidden.json").write_text("{}")
    (run / "way-out").symlink_to(parent)
    with runs.writing("embed", {"encoder": "intensity"}, to=folder / "recipe" / "1-embed") as writer:
        writer.metrics["auroc"] = Estimate(0.71, 0.6, 0.8, method="DeLong", n=40)
    (folder / "broken").mkdir()
    (folder / "broken" / "run.json").write_text("{")
    (folder / "loose.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def server(runs_folder):
    with serve.make_server(runs_folder, port=0) as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(server, path, method="GET", host=None):
    """The raw path is sent as it is, which urllib would not do with dots."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.server_address[1]}")
    connection.endheaders()
    response = connection.getresponse()
    return response, response.read().decode("utf-8", "replace")


def test_the_list_names_every_run_and_links_to_it(server):
    response, text = ask(server, "/")
    assert response.status == 200
    assert 'href="benchmark-demo/report.html"' in text and 'href="recipe/1-embed/report.html"' in text
    assert "0.71 (0.60-0.80)" in text and "the run record is damaged" in text


def test_reports_and_small_files_are_given_out(server):
    for path, kind in [
        ("/benchmark-demo/report.html", "text/html"),
        ("/benchmark-demo/", "text/html"),
        ("/benchmark-demo/run.json", "application/json"),
        ("/benchmark-demo/thumbnails/0.png", "image/png"),
    ]:
        response, _ = ask(server, path)
        assert response.status == 200 and response.headers["Content-Type"].startswith(kind), path
        assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_a_missing_report_is_drawn_but_not_written(server, runs_folder):
    response, text = ask(server, "/recipe/1-embed/report.html")
    assert response.status == 200 and "0.71 (0.60-0.80)" in text
    assert not (runs_folder / "recipe" / "1-embed" / "report.html").exists()


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.json",
        "/benchmark-demo/../../secret.json",
        "/benchmark-demo/%2e%2e/%2e%2e/secret.json",
        "/benchmark-demo/..%2f..%2fsecret.json",
        "/benchmark-demo/way-out/secret.json",
        "/benchmark-demo/.hidden.json",
        "/benchmark-demo/model.pickle",
        "/benchmark-demo/run.json%00.html",
        "/benchmark-demo/thumbnails",
        "/loose.json",
        "//etc/passwd",
        "/etc/passwd",
        "/nothing/report.html",
        "/..\\secret.json",
    ],
)
def test_nothing_else_is(server, path):
    response, text = ask(server, path)
    assert response.status == 404
    assert text.count("\n") == 1


def test_other_names_for_this_machine_are_refused(server):
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "127.0.0.1@evil.example", ""):
        assert ask(server, "/", host=host or " ")[0].status == 403
    assert ask(server, "/", host="localhost:1")[0].status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_is_read_only(server, method):
    assert ask(server, "/benchmark-demo/run.json", method)[0].status == 501


def test_head_is_get_without_the_body(server):
    get, text = ask(server, "/benchmark-demo/run.json")
    head, nothing = ask(server, "/benchmark-demo/run.json", "HEAD")
    assert nothing == "" and head.headers["Content-Length"] == get.headers["Content-Length"] == str(len(text.encode()))


def test_it_listens_on_this_machine_only_unless_told(server):
    assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(InputError, match="name one address"):
        serve.make_server(".", host="0.0.0.0")


def test_what_cannot_be_served_is_one_clear_line(tmp_path, server):
    with pytest.raises(InputError, match="no such folder"):
        serve.make_server(tmp_path / "none")
    with pytest.raises(InputError, match="cannot listen there"):
        serve.make_server(tmp_path, port=server.server_address[1])
    with pytest.raises(InputError, match="cannot listen there"):
        serve.make_server(tmp_path, port=99999)


def test_the_list_as_a_file(tmp_path):
    page = index.write_index(tmp_path).read_text()
    assert "No finished run here yet" in page
    with runs.writing("embed", {}, to=tmp_path / "a <b>") as writer:
        writer.notes.append("x")
    page = index.write_index(tmp_path).read_text()
    assert 'href="a%20%3Cb%3E/report.html"' in page and "a &lt;b&gt;" in page
    assert index.write_index(tmp_path).read_text() == page


def test_a_folder_that_is_not_there_is_one_line(tmp_path, capsys):
    from radfoundry.cli.main import exit_code

    assert exit_code(["serve", str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "no such folder" in said


def test_a_port_in_use_is_not_said_to_show_anything(tmp_path, server, capsys):
    from radfoundry.cli.main import exit_code

    assert exit_code(["serve", str(tmp_path), "--port", str(server.server_address[1])]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "cannot listen there" in said

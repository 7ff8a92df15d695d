#!/usr/bin/env python3
"""Looks at the gateway's admin server as those do for whom it is there: with a browser, with Prometheus' own tool, with
requests that may turn knobs and requests that may not. Called by `.ci/dashboard`. Needs nothing but the standard library."""

import base64
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GATEWAY = ROOT / "target/release/examples/gateway"
HOME = ROOT / "examples/gateway"
TOKEN = "drawbridge-of-the-test"
BROWSERS = ["chromium", "chromium-browser", "google-chrome"]


class Socket:
    """A WebSocket, as much of it as DevTools need."""

    def __init__(self, url):
        host, port, path = re.fullmatch(r"ws://([^:/]+):(\d+)(/.*)", url).groups()
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        key = base64.b64encode(os.urandom(16)).decode()
        head = [f"GET {path} HTTP/1.1", f"Host: {host}:{port}", "Upgrade: websocket", "Connection: Upgrade"]
        head += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]
        self.socket.sendall("\r\n".join(head).encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += self.take(1)
        assert b" 101 " in answer, answer

    def take(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            assert more, "the browser is gone"
            data += more
        return data

    def send(self, text):
        data, mask = text.encode(), os.urandom(4)
        head = b"\x81"
        if len(data) < 126:
            head += struct.pack("!B", 0x80 | len(data))
        elif len(data) < 1 << 16:
            head += struct.pack("!BH", 0x80 | 126, len(data))
        else:
            head += struct.pack("!BQ", 0x80 | 127, len(data))
        self.socket.sendall(head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(data)))

    def receive(self):
        text = b""
        while True:
            first, second = self.take(2)
            length = second & 0x7F
            if length == 126:
                (length,) = struct.unpack("!H", self.take(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", self.take(8))
            data = self.take(length)
            if first & 0x0F in (0, 1):
                text += data
                if first & 0x80:
                    return text.decode()


class Page:
    """One page in a browser of its own, and all that it complains of."""

    def __init__(self, browser):
        self.folder = tempfile.mkdtemp(prefix="dashboard-")
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        options += ["--remote-debugging-port=0", f"--user-data-dir={self.folder}", "--no-first-run", "about:blank"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([browser, *options], **quiet)
        wait_for("the browser", lambda: (Path(self.folder) / "DevToolsActivePort").exists(), 20)
        time.sleep(0.1)
        port = (Path(self.folder) / "DevToolsActivePort").read_text().split()[0]
        pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=10))
        self.socket = Socket(next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page"))
        self.number, self.complaints = 0, []
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.ask(f"{domain}.enable")

    def ask(self, method, **params):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.receive())
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]
            self.note(message)

    def note(self, message):
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", details["text"]))
        if method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(str([each.get("value") for each in params["args"]]))
        if method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"] + " " + params["entry"].get("url", ""))
        if method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith((self.url, "data:")):
                self.complaints.append(f"asks for {url}, which is not its own server")

    def open(self, url):
        self.url = url
        self.ask("Page.navigate", url=url)

    def run(self, expression):
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def size(self, width, height, dark=False):
        mobile = width < 600
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if mobile else 1, mobile=mobile)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def shoot(self, path):
        content = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": content["width"], "height": content["height"], "scale": 1}
        shot = self.ask("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)


def wait_for(what, is_so, seconds):
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, f"waited {seconds} s for {what}"
        time.sleep(0.1)


def ask(url, body=None, headers=None, method=None):
    """Status, media type and body; refusals are answers, too."""
    if isinstance(body, str):
        body = body.encode()
    request = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.headers.get("content-type"), response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("content-type"), error.read().decode()


class Gateway:
    """The self-contained run, with an admin server that stays for a while."""

    def __init__(self, *arguments):
        command = [str(GATEWAY), "--admin", "0.0.0.0:0", "--admin-token", TOKEN, *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.lines = []
        threading.Thread(target=self.read, daemon=True).start()
        wait_for("the gateway", lambda: self.find(r"^admin: http://") is not None, 10)
        self.port = int(self.find(r"^admin: http://0\.0\.0\.0:(\d+)/").group(1))
        self.url = f"http://127.0.0.1:{self.port}"

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    def find(self, pattern):
        return next((found for line in list(self.lines) if (found := re.search(pattern, line))), None)

    def get(self, path, **headers):
        return ask(self.url + path, headers=headers)

    def debug(self):
        return json.loads(self.get("/debug?since=1000000")[2])

    def control(self, body, to="127.0.0.1", **changes):
        headers = {"x-gateway-control": "1", "content-type": "application/x-www-form-urlencoded"}
        headers.update({name.replace("_", "-"): value for name, value in changes.items()})
        headers = {name: value for name, value in headers.items() if value is not None}
        return ask(f"http://{to}:{self.port}/control", body, headers)

    def knobs(self):
        return [(u["circuit"]["state"], u["chaos"]["plan"], u["rate"]["quota"]) for u in self.debug()["upstreams"]]


def metrics_of(text):
    """The series of the text format, by name and labels."""
    series = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            series[name] = float(value)
    return series


def own_address():
    """An address of this machine that is not loopback, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: it only asks for the route.
            probe.connect(("192.0.2.1", 9))
            address = probe.getsockname()[0]
        except OSError:
            return None
    return None if address.startswith("127.") else address


def check_answers(gateway):
    assert gateway.get("/livez")[:2] == (200, "application/json")
    status, _, body = gateway.get("/readyz")
    assert status == 200 and json.loads(body)["ready"] is True, body
    assert gateway.get("/nothing")[0] == 404
    assert gateway.get("/control")[0] == 405
    assert ask(gateway.url + "/debug", body="", method="POST")[0] == 405
    assert gateway.get("/debug?since=x")[0] == 400
    plain = gateway.get("/metrics", accept="text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
    assert plain[1].startswith("text/plain; version=0.0.4"), plain[1]
    opened = gateway.get("/metrics", accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert opened[1].startswith("application/openmetrics-text") and opened[2].endswith("# EOF\n")


def check_refusals(gateway):
    """Nothing changes by a request that is refused, and it says why."""
    # Under load circuits open and close by themselves, but none is held.
    turned = lambda: [(state.startswith("held"), plan, quota) for state, plan, quota in gateway.knobs()]
    before = turned()
    turn = "upstream=steady&circuit=open&chaos=error@100%25&rate=1/h"
    for why, changes in {
        "x-gateway-control": {"x_gateway_control": None},
        "host": {"host": f"evil.example:{gateway.port}"},
        "origin": {"origin": "http://evil.example"},
    }.items():
        status, _, body = gateway.control(turn, **changes)
        assert status == 403 and why in json.loads(body)["error"], (why, status, body)
    address = own_address()
    if address is None:
        print("note: this machine has no address but loopback; strangers are not tested")
    else:
        for token in [None, "Bearer wrong-wrong-wrong"]:
            status, _, body = gateway.control(turn, to=address, authorization=token)
            assert status == 403 and "token" in json.loads(body)["error"], body
        assert gateway.control("upstream=steady&rate=often", to=address, authorization=f"Bearer {TOKEN}")[0] == 400
    for body, knob, value in [
        ("upstream=barn&circuit=open", "upstream", "barn"),
        ("upstream=steady&circuit=ajar", "circuit", "ajar"),
        ("upstream=steady&chaos=mayhem@1%25", "chaos", "mayhem@1%"),
        # The first knob is good, the last is not: neither is turned.
        ("upstream=steady&circuit=open&rate=often", "rate", "often"),
    ]:
        status, _, answer = gateway.control(body)
        answer = json.loads(answer)
        assert status == 400 and (answer["knob"], answer["value"]) == (knob, value) and answer["rule"], answer
    assert turned() == before, (before, turned())


def check_controls(gateway, page):
    """From the page, and without it."""
    page.run("""document.querySelector('[data-upstream=steady] [data-word="held open"]').click()""")
    badge = """document.querySelector('[data-upstream=%s] .badge').textContent"""
    wait_for("the badge", lambda: page.run(badge % "steady") == "held open", 5)
    wait_for("the button", lambda: page.run("""document.querySelector('[data-upstream=steady] [data-word="held open"]').ariaPressed""") == "true", 5)
    status, _, body = gateway.get("/readyz")
    assert status == 200 and json.loads(body)["open"] == ["steady"], body
    for name in ["flaky", "mortal", "metered"]:
        assert gateway.control(f"upstream={name}&circuit=open")[0] == 200
    status, _, body = gateway.get("/readyz")
    assert status == 503 and "circuit" in json.loads(body)["reason"], body
    wait_for("the page to see it", lambda: page.run("document.getElementById('health').textContent") == "not ready", 5)
    for name in ["steady", "flaky", "mortal", "metered"]:
        assert gateway.control(f"upstream={name}&circuit=reset")[0] == 200
    assert gateway.get("/readyz")[0] == 200
    # As JSON, several knobs at once; and by the page's fields.
    both = json.dumps({"upstream": "flaky", "chaos": "latency=5ms@10%", "rate": "77/s"})
    status, _, body = gateway.control(both, content_type="application/json")
    assert status == 200 and json.loads(body)["rate"] == "77/s", body
    assert gateway.knobs()[1][1:] == ("latency=5ms@0.1", "77/s"), gateway.knobs()
    page.run("""(() => {
      const [chaos] = document.querySelectorAll('[data-upstream=mortal] .knobs input');
      chaos.value = 'hang@1%'; chaos.dispatchEvent(new Event('input'));
      chaos.nextElementSibling.click();
    })()""")
    wait_for("chaos from the page", lambda: gateway.knobs()[2][1] == "hang@0.01", 5)
    assert gateway.control("upstream=mortal&chaos=none")[0] == 200
    assert gateway.knobs()[2][1] == ""


def check_numbers(gateway, page):
    """At rest, the page says what /metrics says, of everything that both have."""
    time.sleep(1.5)
    shown = page.run("Object.fromEntries([...document.querySelectorAll('[data-series]')].map((e) => [e.dataset.series, e.textContent]))")
    metrics = metrics_of(gateway.get("/metrics")[2])
    assert len(shown) > 100, len(shown)
    for series, text in shown.items():
        if text == "–":
            continue
        assert series in metrics, f"{series} is on the page and not in /metrics"
        assert float(text.replace(",", "")) == metrics[series], (series, text, metrics[series])
    sent = sum(value for name, value in metrics.items() if name.startswith("cofferdam_gateway_requests_total"))
    assert sent == sum(upstream["arrived"] for upstream in gateway.debug()["upstreams"]) > 1000, sent
    return len(shown)


CURSOR = """(() => {
  const chart = document.querySelector('.overview .chart > canvas');
  const said = () => document.querySelector('.overview .legend').textContent;
  const wait = () => new Promise((done) => setTimeout(done, 100));
  const { left, width, top } = chart.getBoundingClientRect();
  const now = said();
  chart.dispatchEvent(new PointerEvent('pointermove', { clientX: left + width * 0.9, clientY: top + 50 }));
  return wait().then(() => { const then = said(); chart.dispatchEvent(new PointerEvent('pointerleave')); return wait().then(() => [now, then, said()]); });
})()"""


def check_cursor(page):
    """Under the pointer a chart says what was then; without it, what is now."""
    now, then, again = page.run(CURSOR)
    assert then not in (now, again), (now, then, again)


NAME = re.compile(r"\bcofferdam_[a-z_]+")


def check_files(gateway):
    """Every metric of the alerts and of the Grafana dashboard is there; and Prometheus' own tool agrees with the rest."""
    text = gateway.get("/metrics")[2]
    names = {series.split("{")[0] for series in metrics_of(text)}
    for file in ["alerts.yml", "grafana.json"]:
        used = set(NAME.findall((HOME / file).read_text()))
        assert used and used <= names, f"{file} names what is not in /metrics: {sorted(used - names)}"
    panels = json.loads((HOME / "grafana.json").read_text())["panels"]
    promtool = shutil.which("promtool")
    if promtool is None:
        print("note: there is no promtool; its checks are skipped")
        return
    # Grafana's queries as rules, so that promtool reads them.
    queries = [target["expr"].replace("$__rate_interval", "5m") for panel in panels for target in panel["targets"]]
    rules = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(queries)]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        # JSON is YAML.
        json.dump({"groups": [{"name": "grafana", "rules": rules}]}, file)
        file.flush()
        for command, given in [
            (["check", "metrics"], text),
            (["check", "rules", str(HOME / "alerts.yml")], ""),
            (["check", "rules", file.name], ""),
        ]:
            run = subprocess.run([promtool, *command], input=given, capture_output=True, text=True)
            assert run.returncode == 0, run.stdout + run.stderr


SHIFTS = """new Promise((done) => {
  let sum = 0;
  new PerformanceObserver((list) => { for (const one of list.getEntries()) sum += one.value; }).observe({ type: 'layout-shift', buffered: true });
  setTimeout(() => done(sum), 300);
})"""
NAMELESS = """[...document.querySelectorAll('button, input, select, a, canvas:not([aria-hidden]), [role]')].filter((e) =>
  !(e.ariaLabel || e.textContent.trim() || e.labels?.length || e.getAttribute('aria-labelledby') || e.tagName === 'OUTPUT' || e.hidden)).map((e) => e.outerHTML)"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def main():
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    shots = Path(os.environ["SHOTS"]) if "SHOTS" in os.environ else None
    if shots:
        shots.mkdir(parents=True, exist_ok=True)
    gateway = Gateway("--seconds", "8", "--requests", "12000", "--admin-linger", "120")
    page = Page(browser)
    try:
        page.size(1280, 900)
        page.open(gateway.url + "/")
        check_answers(gateway)
        check_refusals(gateway)
        wait_for("the page", lambda: page.run("!document.getElementById('main')?.hidden"), 10)
        wait_for("the end of the load", lambda: gateway.find("^all is sent"), 30)
        shift = page.run(SHIFTS)
        assert shift < 0.02, f"the layout shifts by {shift}"
        numbers = check_numbers(gateway, page)
        check_cursor(page)
        check_files(gateway)
        check_controls(gateway, page)
        for width, height in [(1280, 900), (360, 780)]:
            for dark in [False, True]:
                page.size(width, height, dark)
                time.sleep(0.4)
                theme = "dark" if dark else "light"
                assert page.run("document.documentElement.dataset.theme") == theme
                assert page.run(OVERFLOW) <= 0, f"wider than {width}"
                if shots:
                    page.shoot(shots / f"{width}-{theme}.png")
        nameless = page.run(NAMELESS)
        assert nameless == [], nameless
        assert page.complaints == [], page.complaints
        gateway.process.terminate()
        code = gateway.process.wait(15)
        assert code == 0, f"the gateway ended with {code}:\n" + "".join(gateway.lines[-60:])
        lost = "document.getElementById('lost').hidden === false && document.getElementById('lost').textContent.startsWith('Connection lost')"
        wait_for("the page to miss it", lambda: page.run(lost), 8)
        print(f"dashboard: {numbers} numbers are those of /metrics; controls, refusals, alerts and Grafana's file are well")
    finally:
        page.close()
        gateway.process.kill()


if __name__ == "__main__":
    sys.exit(main())

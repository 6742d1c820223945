"""Let tools from outside look for weaknesses; what they find is answered in docs/security.md.

tools/audit.py packages   known weaknesses of the locked packages (pip-audit). ADVISORIES says who knows them:
                          an address that answers OSV's query, or a file with OSV's export of PyPI (all.zip)
                          for networks without one; otherwise OSV itself is asked
tools/audit.py code       bandit over jingwei/
tools/audit.py site       a web scanner (wapiti) and sqlmap against an instance of its own on loopback, signed
                          in as the operator of a village, the lowest role with business; under 10 minutes

Without a name all three, one after the other. The exit code is 1 where one found what is not answered, and 3
where nobody could be asked about the packages.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import django
import requests
from advisories import Advisories

PROJECT = Path(__file__).resolve().parent.parent
PROGRAMS = PROJECT / ".venv" / "audit" / "bin"
LOCKS = ["requirements.lock", "requirements-dev.lock"]
FRESH = timedelta(days=30)  # that advisories in a file are trusted to know of what is exploited today

# Modules of the scanner that need no outside host and no list of foreign products.
MODULES = (
    "cookieflags,crlf,csp,csrf,exec,file,htaccess,http_headers,ldap,methods,permanentxss,redirect,sql,xss"
)
# What it reports and docs/security.md answers.
ANSWERED = {"Secure Flag cookie"}
PARAMETERS = {
    "/people/": "q=1&region=990101001001&name=1&age__from=1",
    "/venues/": "q=1&sort=code&kind=1&street=1&page=1",
    "/population/": "region=990101001001&table=occupation",
    "/daily/": "region=990101001001&from=2026-01-01&to=2026-01-31",
    "/people/options/region/": "q=1&for=add",
}


def packages():
    """Whether no locked package has a known weakness; None where nobody could be asked."""
    source = os.environ.get("ADVISORIES", "")
    if not source or source.startswith(("http://", "https://")):
        return ask(source)
    try:
        advisories = Advisories(source)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return None
    print(f"advisories as of {advisories.latest:%Y-%m-%d}, from {source}")
    if datetime.now(UTC) - advisories.latest > FRESH:
        print(f"WARNING: older than {FRESH.days} days, newer weaknesses are not in it; fetch the export anew")
    os.environ["NO_PROXY"] = "127.0.0.1"
    with advisories.served() as address:
        return ask(address)


def ask(address):
    """Have pip-audit ask a service, OSV's own where no address is given."""
    command = [PROGRAMS / "pip-audit", "--vulnerability-service", "osv", "--progress-spinner", "off"]
    command += ["--osv-url", address] if address else []
    command += ["--strict", "--require-hashes", "--disable-pip", "--format", "json"]
    command += [word for lock in LOCKS for word in ("-r", lock)]
    told = subprocess.run(command, capture_output=True, text=True)
    try:
        found = json.loads(told.stdout)["dependencies"]
    except ValueError:  # it ends without a report where it could not ask about each
        print(f"nobody could be asked: {(told.stderr.strip().splitlines() or ['no reason'])[-1]}")
        return None
    weak = [(package, weakness) for package in found for weakness in package["vulns"]]
    for package, weakness in weak:
        mended = ", ".join(weakness["fix_versions"]) or "no version yet"
        print(f"  {package['name']} {package['version']}: {weakness['id']}, mended in {mended}")
    print(f"pip-audit asked about {len(found)} packages")
    return not weak


def code():
    """Whether bandit finds nothing; pyproject.toml says which of its questions ruff asks line by line."""
    asked = [PROGRAMS / "bandit", "--quiet", "--recursive", "jingwei", "--configfile", "pyproject.toml"]
    return subprocess.run(asked).returncode == 0


def site():
    """Whether scanner and sqlmap find nothing but what is answered."""
    sys.path.insert(0, str(PROJECT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jingwei.settings")
    django.setup()
    from tests.instance import new_instance

    with new_instance(tempfile.gettempdir(), people=200) as instance:
        instance.start()
        cookie = sign_in(instance, "village")
        return all([scan(instance, cookie), inject(instance, cookie)])


def sign_in(instance, login):
    """The cookie of a session of `login`."""
    browser = requests.Session()
    page = browser.get(f"{instance.address}/sign-in/", timeout=30).text
    token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
    sent = {"csrfmiddlewaretoken": token, "login": login, "password": instance.password(login)}
    answer = browser.post(f"{instance.address}/sign-in/", sent, allow_redirects=False, timeout=30)
    if (
        answer.status_code != 302
        or "people" not in browser.get(f"{instance.address}/people/", timeout=30).url
    ):
        raise SystemExit(f"{login} could not sign in")
    return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())


def scan(instance, cookie):
    """Run the web scanner over what a crawl finds; whether all it reports is answered."""
    report = instance.home / "scan.json"
    command = [PROGRAMS / "wapiti", "--url", f"{instance.address}/", "--scope", "folder"]
    command += ["--module", MODULES, "--header", f"Cookie: {cookie}"]
    command += ["--exclude", f"{instance.address}/sign-out/", "--exclude", f"{instance.address}/static/*"]
    command += ["--depth", "3", "--max-links-per-page", "40", "--max-parameters", "30"]
    command += ["--max-scan-time", "60", "--max-attack-time", "15", "--timeout", "10", "--no-bugreport"]
    command += ["--store-session", instance.home / "wapiti", "--store-config", instance.home / "wapiti"]
    command += ["--format", "json", "--output", report, "--verbose", "0"]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # its report tells
    told = json.loads(report.read_text())
    print(f"wapiti looked at {told['infos']['crawled_pages_nbr']} pages")
    found = told["vulnerabilities"] | told["anomalies"]
    for name, places in found.items():
        for place in places:
            print(f"  {name}: {place['method']} {place['path']} {place['parameter']} {place['info']}")
    return not [name for name, places in found.items() if places and name not in ANSWERED]


def inject(instance, cookie):
    """Run sqlmap over the parameters of pages that search; whether none can be injected into."""
    harmless = True
    for path, parameters in PARAMETERS.items():
        command = [PROGRAMS / "sqlmap", "--url", f"{instance.address}{path}?{parameters}", "--cookie", cookie]
        command += ["--batch", "--dbms", "PostgreSQL", "--level", "1", "--risk", "1", "--threads", "1"]
        command += ["--technique", "BEUS", "--disable-coloring", "--output-dir", instance.home / "sqlmap"]
        try:
            said = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
            told = "nothing" if "do not appear to be injectable" in said else "something"
        except subprocess.TimeoutExpired as late:
            said = (late.stdout or b"").decode()
            told = "something" if re.search("is vulnerable|' injectable", said) else "nothing in its time"
        tested = sorted(set(re.findall("parameter '([^']+)' does not seem to be injectable", said)))
        print(f"sqlmap found {told} at {path}, having tried {', '.join(tested) or 'no parameter to its end'}")
        if told == "something":
            print(said[-3000:])
            harmless = False
    return harmless


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", metavar="WHAT", help="packages, code, site")
    steps = {"packages": packages, "code": code, "site": site}
    chosen = parser.parse_args().what or list(steps)
    found = {name: steps[name]() for name in chosen}
    said = {True: "clean", False: "NOT CLEAN", None: "NOT LOOKED AT"}
    print("; ".join(f"{name}: {said[clean]}" for name, clean in found.items()))
    return 1 if False in found.values() else 3 if None in found.values() else 0


if __name__ == "__main__":
    sys.exit(main())

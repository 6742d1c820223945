"""The browser files of others that the project ships: fetched from npm, listed with their digests.

    tools/vendor.py          fetch the packages below and write jingwei/static/vendor/ with its manifest
    tools/vendor.py --check  compare what stands there with the manifest; exit code 1 names each difference

A newer version is a new number below and one run.
"""

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from xml.etree import ElementTree

VENDOR = Path(__file__).resolve().parent.parent / "jingwei" / "static" / "vendor"
MANIFEST = VENDOR / "manifest.json"

# name, version, folder, files of the package to take
PACKAGES = [
    ("@tabler/core", "1.6.1", "tabler", ["dist/css/tabler.min.css", "dist/js/tabler.min.js"]),
    ("@tabler/icons", "3.51.0", "icons", ["LICENSE"]),
    ("htmx.org", "2.0.11", "htmx", ["dist/htmx.min.js", "LICENSE"]),
    (
        "tom-select",
        "2.6.2",
        "tom-select",
        ["dist/js/tom-select.complete.min.js", "dist/css/tom-select.bootstrap5.min.css", "LICENSE"],
    ),
    ("echarts", "6.1.0", "echarts", ["dist/echarts.common.min.js", "LICENSE", "NOTICE"]),
    (
        "maplibre-gl",
        "6.17.0",
        "maplibre",
        ["dist/maplibre-gl.mjs", "dist/maplibre-gl-worker.mjs", "dist/maplibre-gl.css", "LICENSE.txt"],
    ),
]
# @tabler/core says MIT in its files and leaves the text out; the same author's other package has it.
LICENCE_FROM = {"@tabler/core": "@tabler/icons"}

# The outline icons that pages use, as the symbols of one file: icons/icons.svg#home
ICONS = """
activity adjustments alert-circle alert-triangle anchor api archive arrow-down arrow-left arrow-right
arrow-up arrows-sort arrows-transfer-down ban bell bolt book bookmark books briefcase building
building-community building-hospital building-store calendar calendar-event camera chart-area chart-bar
chart-line chart-pie check checklist chevron-down chevron-left chevron-right chevron-up chevrons-left
chevrons-right circle-check circle-x clipboard-check clipboard-list clock columns copy dashboard database
device-mobile dots dots-vertical download external-link eye eye-off file file-export file-import
file-spreadsheet file-text file-type-pdf filter filter-off folder gender-female gender-male grip-vertical
heart-handshake heartbeat help-circle history home id id-badge-2 inbox info-circle key link list
list-check list-details loader-2 lock lock-open login logout mail map map-pin maximize menu-2 message
messages minus moon notification paperclip pencil phone photo player-pause player-play player-stop plug
plus printer progress qrcode refresh report-analytics rotate run scale scan search send server settings
shield shield-check shield-lock sitemap sort-ascending sort-descending star stethoscope sun table tag tags
test-pipe trash trophy truck upload user user-check user-circle user-plus user-x users vaccine video virus
world x zoom-in
""".split()


def fetch(name, version, scratch):
    """Unpack a package of npm and return its folder; npm compares it with the registry's digest."""
    command = ["npm", "pack", "--silent", f"{name}@{version}"]
    packed = subprocess.run(command, cwd=scratch, check=True, capture_output=True, text=True)
    target = scratch / name.replace("/", "-")
    with tarfile.open(scratch / packed.stdout.strip()) as archive:
        archive.extractall(target, filter="data")
    return target / "package"


def without_source_map(text):
    """The file without the comment that makes a browser ask for a map that isn't shipped."""
    return re.sub(r"\n?(//# sourceMappingURL=\S+|/\*# sourceMappingURL=.*?\*/)\s*", "\n", text)


def sprite(package):
    """One SVG with the icons as symbols; each keeps the look that its own file gives it."""
    namespace = "http://www.w3.org/2000/svg"
    ElementTree.register_namespace("", namespace)
    root = ElementTree.Element(f"{{{namespace}}}svg")
    for name in ICONS:
        icon = ElementTree.parse(package / "icons" / "outline" / f"{name}.svg").getroot()
        look = {key: icon.get(key) for key in ["viewBox", "fill", "stroke", "stroke-width"]}
        symbol = ElementTree.SubElement(
            root,
            f"{{{namespace}}}symbol",
            {"id": name, **look, "stroke-linecap": "round", "stroke-linejoin": "round"},
        )
        symbol.extend(path for path in icon if path.get("stroke") != "none")  # not the invisible frame
    for element in root.iter():
        element.tail = "\n" if element.tag.endswith("symbol") else None
        element.text = None
    return ElementTree.tostring(root, encoding="unicode")


def refresh():
    """Write the folder anew from npm."""
    with tempfile.TemporaryDirectory() as scratch:
        sources = {name: fetch(name, version, Path(scratch)) for name, version, *_ in PACKAGES}
        shutil.rmtree(VENDOR, ignore_errors=True)
        manifest = []
        for name, version, folder, files in PACKAGES:
            target = VENDOR / folder
            target.mkdir(parents=True)
            for file in files:
                text = (sources[name] / file).read_text(encoding="utf-8")
                (target / Path(file).name).write_text(without_source_map(text), encoding="utf-8")
            if name in LICENCE_FROM:
                shutil.copyfile(sources[LICENCE_FROM[name]] / "LICENSE", target / "LICENSE")
            if folder == "icons":
                (target / "icons.svg").write_text(sprite(sources[name]), encoding="utf-8")
            licence = json.loads((sources[name] / "package.json").read_text())["license"]
            digests = {f"{folder}/{path.name}": digest(path) for path in sorted(target.iterdir())}
            manifest.append({"name": name, "version": version, "licence": licence, "files": digests})
    MANIFEST.write_text(json.dumps(manifest, indent=2) + "\n")


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def differences():
    """What doesn't agree with the manifest, or would have a browser ask an outside host."""
    listed = {}
    for package in json.loads(MANIFEST.read_text()):
        listed |= package["files"]
    present = {str(path.relative_to(VENDOR)): path for path in VENDOR.rglob("*") if path.is_file()}
    del present[MANIFEST.name]
    for name in sorted(listed.keys() | present.keys()):
        if name not in present:
            yield f"{name}: listed, but not there"
        elif name not in listed:
            yield f"{name}: there, but not listed"
        elif digest(present[name]) != listed[name]:
            yield f"{name}: not the file that was listed"
        elif name.endswith(".css"):
            for address in re.findall(r"url\([\"']?([^\"')]{1,80})|@import", present[name].read_text()):
                if not address.startswith("data:"):
                    yield f"{name}: asks for {address or 'another style sheet'}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the manifest, change nothing")
    if not parser.parse_args().check:
        refresh()
    found = list(differences())
    print("\n".join(found) or f"{VENDOR.name}: as listed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

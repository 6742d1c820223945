"""The boundaries of a whole district come in by one file (P-1.1)."""

import json
import sys

import pytest
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile

from jingwei.base.models import LogEntry
from jingwei.cli import main
from jingwei.directory.models import Region
from jingwei.directory.region_actions import outline_regions
from jingwei.kit.coordinates import from_wgs84

pytestmark = pytest.mark.django_db
TOWN, VILLAGE = "990101001", "990101001001"


def square(longitude):
    ring = [[longitude, 35], [longitude + 0.1, 35], [longitude + 0.1, 35.1], [longitude, 35]]
    return {"type": "Polygon", "coordinates": [ring]}


def collection(key="code", **geometries):
    features = [
        {"type": "Feature", "properties": {key: code.strip("_")}, "geometry": geometry}
        for code, geometry in geometries.items()
    ]
    return json.dumps({"type": "FeatureCollection", "features": features})


def boundary(code):
    return Region.objects.get(code=code).boundary


@pytest.mark.req("P-1.1")
def test_a_file_sets_the_boundaries_of_the_regions_whose_codes_it_names(sysadmin):
    text = collection(key="adcode", _990101001000=square(122), _990101001001=square(123))
    assert outline_regions(sysadmin.actor, text, system="WGS-84", key="adcode") == 2
    assert boundary(TOWN)["coordinates"] == [square(122)["coordinates"]]
    assert boundary(VILLAGE)["coordinates"] == [square(123)["coordinates"]]
    assert LogEntry.objects.filter(act="设置边界").count() == 2
    shifted = [float(side) for side in from_wgs84(122, 35, "GCJ-02")]
    ring = [shifted, [shifted[0] + 0.1, shifted[1]], [shifted[0], shifted[1] + 0.1], shifted]
    text = collection(_990101001={"type": "Polygon", "coordinates": [ring]})
    outline_regions(sysadmin.actor, text, system="GCJ-02")
    assert boundary(TOWN)["coordinates"][0][0][0] == pytest.approx([122, 35], abs=2e-6)


@pytest.mark.req("P-1.1", "P-1.6")
def test_one_wrong_feature_and_nothing_is_changed(sysadmin, district):
    before = boundary(TOWN)
    text = collection(_990101001=square(122), _990101999=square(122), _990101002={"type": "Point"})
    with pytest.raises(ValidationError) as refused:
        outline_regions(sysadmin.actor, text, system="WGS-84")
    second, third = refused.value.messages
    assert second.startswith("第 2 个要素：没有代码为“990101999”的区划")
    assert third.startswith("第 3 个要素：") and "Polygon" in third
    assert boundary(TOWN) == before
    with pytest.raises(ValidationError, match="没有代码为"):  # out of reach is like not there
        outline_regions(district.actor, collection(_990101001=square(122)), system="WGS-84")


@pytest.mark.req("P-1.1", "SEC-12")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '{"features": 5}',
        '{"features": [5]}',
        '{"features": [{"properties": null}]}',
        '{"features": [{"properties": {"code": "\\ud800"}}]}',
        "[" * 100_000,
    ],
)
def test_what_is_no_collection_is_refused_in_words(sysadmin, text):
    with pytest.raises(ValidationError, match="FeatureCollection"):
        outline_regions(sysadmin.actor, text, system="WGS-84")


def sent(persona, data):
    file = SimpleUploadedFile("边界.geojson", data)
    return persona.client.post("/boundaries/", {"file": file, "key": "code", "system": "WGS-84"})


@pytest.mark.req("P-1.1", "P-1.10")
def test_the_page_takes_the_file_and_says_what_is_wrong_or_missing(sysadmin, district):
    Region.objects.filter(code=VILLAGE).update(boundary=None)
    assert VILLAGE in sysadmin.client.get("/boundaries/").content.decode()
    assert sent(sysadmin, collection(_990101001001=square(122)).encode()).status_code == 302
    page = sysadmin.client.get("/boundaries/").content.decode()
    assert "已设置 1 个区划的边界" in page and VILLAGE not in page
    assert "第 1 个要素" in sent(sysadmin, collection(_880101=square(122)).encode()).content.decode()
    assert "UTF-8" in sent(sysadmin, "代码".encode("gb18030")).content.decode()
    assert sysadmin.client.get("/boundaries/basemap.json").status_code == 200
    for address in ("/boundaries/", "/boundaries/basemap.json"):
        assert district.client.get(address).status_code == 403


@pytest.mark.req("P-1.1")
def test_the_command_line_takes_the_file_with_the_rights_of_an_account(tmp_path, monkeypatch, capsys, db):
    path = tmp_path / "边界.geojson"
    path.write_text(collection(_990101001=square(122)))
    codes = []
    for login in ("sysadmin", "district"):
        monkeypatch.setattr(sys, "argv", ["jingwei", "boundaries", str(path), "--as", login])
        with pytest.raises(SystemExit) as ended:
            main.main()
        codes.append(ended.value.code)
    told = capsys.readouterr()
    assert codes == [0, 2]
    assert "已设置 1 个区划的边界" in told.out and "没有设置区划边界的权限" in told.err
    assert boundary(TOWN)["coordinates"] == [square(122)["coordinates"]]

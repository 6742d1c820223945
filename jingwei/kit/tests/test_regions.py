import polars as pl
import pytest

from jingwei.kit.regions import RegionNames, full_name, level_of, parent_of, short_name

ROWS = [
    ("990101", "安澜区"),
    ("990101001", "安平街道"),
    ("990101001001", "上埔社区"),
    ("990101001002", "兴洋社区"),
    ("990101001003", "兴洋村"),
    ("990101002", "柳溪镇"),
    ("990101002001", "南山村"),
    ("990101002002", "下洋村"),
    ("990101003", "古渡镇"),
    ("990101003001", "南山村"),
    ("990101003001001", "第一网格"),
    ("990102001", "外镇"),
    ("990102001001", "外村"),
]


def resolve(town, village, within=("990101",)):
    """Code, town error, village error, "a short name was used" of one row."""
    towns, villages = pl.Series([town], dtype=pl.String), pl.Series([village], dtype=pl.String)
    found = RegionNames(ROWS, list(within)).resolve(towns, villages)
    short = found.rules["region by short name"][0]
    return found.values[0], found.town_errors[0], found.village_errors[0], short


def test_a_code_tells_level_and_parent():
    assert [level_of(code) for code in ["99", "9901", "990101", "990101001", "990101001001"]] == [
        "省",
        "市",
        "区县",
        "街道乡镇",
        "社区村",
    ]
    assert level_of("990101001001001") == "网格"
    assert parent_of("990101001001001") == "990101001001"
    assert parent_of("990101") == "9901"
    assert parent_of("99") is None
    with pytest.raises(ValueError, match="不是行政区划代码"):
        level_of("99010")


@pytest.mark.req("CL-6.2")
@pytest.mark.parametrize(
    ("name", "full", "short"),
    [
        ("安平街道", "安平街道", "安平"),
        ("安平街道办事处", "安平街道", "安平"),
        ("上街镇", "上街镇", "上街"),
        ("下洋村委会", "下洋村", "下洋"),
        ("下洋村民委员会", "下洋村", "下洋"),
        ("下洋村村民委员会", "下洋村", "下洋"),
        ("上埔居委会", "上埔社区", "上埔"),
        ("上埔社区居民委员会", "上埔社区", "上埔"),
        ("村", "村", "村"),
    ],
)
def test_names_lose_their_offices_and_suffixes(name, full, short):
    assert (full_name(name), short_name(name)) == (full, short)


@pytest.mark.req("CL-6.2")
@pytest.mark.parametrize(
    ("town", "village", "code", "short"),
    [
        ("柳溪镇", "下洋村", "990101002002", False),
        ("柳溪", "下洋村", "990101002002", True),
        ("柳溪镇", "下洋", "990101002002", True),
        (" 柳溪镇", "下洋村委会", "990101002002", True),
        (None, "下洋", "990101002002", True),
        ("古渡镇", "南山村", "990101003001", False),
        ("安平街道", "兴洋村", "990101001003", False),
        ("安平街道", "兴洋居委会", "990101001002", True),
    ],
)
def test_villages_are_found_by_full_and_short_names(town, village, code, short):
    assert resolve(town, village) == (code, None, None, short)


@pytest.mark.req("CL-6.2")
def test_a_village_of_two_towns_needs_its_town():
    code, town_error, village_error, _ = resolve(None, "南山村")
    assert (code, village_error) == (None, None)
    assert "请填写乡镇(街道)" in town_error


@pytest.mark.req("CL-6.2")
def test_a_short_name_of_two_villages_needs_the_full_one():
    code, town_error, village_error, _ = resolve("安平", "兴洋")
    assert (code, town_error) == (None, None)
    assert "请写全称" in village_error


@pytest.mark.req("CL-2.1")
@pytest.mark.parametrize(("town", "village"), [("外镇", "外村"), (None, "外村"), ("柳溪镇", "外村")])
def test_outside_the_territory_is_like_nowhere(town, village):
    answer = [text and text.replace("外", "无") for text in resolve(town, village)[1:3]]
    nowhere = resolve(town and town.replace("外", "无"), village.replace("外", "无"))
    assert answer == list(nowhere[1:3])
    assert nowhere[0] is None


@pytest.mark.req("CL-2.1")
def test_a_village_operator_names_the_town_but_reaches_only_the_village():
    assert resolve("柳溪镇", "下洋村", within=["990101002002"])[0] == "990101002002"
    assert resolve("柳溪镇", "南山村", within=["990101002002"])[2] == "柳溪镇没有“南山村”，请核对村/社区"
    assert resolve("古渡镇", "南山村", within=["990101002002"])[1].startswith("“古渡镇”不是")
    assert resolve(None, "南山村", within=["990101003"])[0] == "990101003001"


def test_an_empty_village_is_told():
    assert resolve("柳溪镇", None)[2] == "村/社区为空，请填写"
    found = RegionNames(ROWS, ["990101"]).resolve(None, pl.Series(["下洋村", "下洋村", None]))
    assert found.values.to_list() == ["990101002002", "990101002002", None]

"""What sheets of the directory look like."""

from jingwei.base.columns import Text
from jingwei.base.sheets import Sheet, SheetColumn
from jingwei.directory.columns import RegionCode
from jingwei.directory.models import Region
from jingwei.directory.region_actions import save_region


class RegionSheet(Sheet):
    """The national codes for statistics as a table or as JSON, parents before their children (P-1.1)."""

    name = "regions"
    label = "行政区划"
    resource = "regions"
    model = Region
    columns = [
        SheetColumn(
            "code",
            "代码",
            RegionCode(),
            ["code", "区划代码", "行政区划代码", "统计用区划代码"],
            required=True,
        ),
        SheetColumn(
            "name", "名称", Text(60), ["name", "区划名称", "行政区划名称", "单位名称"], required=True
        ),
    ]
    key = ["code"]
    save = staticmethod(save_region)
